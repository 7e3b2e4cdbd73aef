"""The contract for link sources, found through the entry-point group `hamlet.sources`.

A source is a class with `api_version`, `Settings` (a SourceSettings subclass), `__init__(settings)`
without I/O, `search`, and `aclose` if it holds anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hamlet.core.text import Language

Freshness = Literal["any", "day", "week", "month", "year"]
SafeSearch = Literal["strict", "moderate", "off"]


@dataclass(frozen=True, slots=True)
class LinkQuery:
    """What to find links for; an empty text asks for the editors' choice, `keys` for those rows.

    `country` is ISO 3166, `within_s` how long the asker can wait. A source may leave out of
    account what its vendor cannot do.
    """

    text: str
    language: Language
    limit: int
    country: str | None = None
    freshness: Freshness = "any"
    safe: SafeSearch = "moderate"
    within_s: float = 10.0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A link as a source gives it. `score` is relevance from 0 to 1."""

    url: str
    title: str
    snippet: str
    kind: str
    language: str
    score: float
    source: str
    icon: str | None = None
    topics: tuple[str, ...] = ()
    published_at: str | None = None
    license: str | None = None


@runtime_checkable
class SupportsSearch(Protocol):
    """A source of links. Never gives a URL it has not got."""

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """The best links, best first; perhaps none."""
        ...


class SourceError(Exception):
    """A source cannot answer. The message is fit for a log: no key, no query.

    `retry_after_s` is how long it wants to be left alone, if it said so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceSettings(BaseModel):
    """Where a source is; a source derives its own. `daily_quota` bounds the calls of a day."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = ""
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=5.0, gt=0)
    daily_quota: int | None = Field(default=None, ge=1)

    def secret(self) -> str:
        """The key in clear, or "" if none is set."""
        return self.api_key.get_secret_value() if self.api_key else ""
