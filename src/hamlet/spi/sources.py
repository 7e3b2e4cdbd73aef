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
    """A search for links. An empty text selects the editors' choice, `keys` those rows.

    `country` is ISO 3166, `within_s` the time that is left. A source may ignore what its vendor
    does not support.
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
    """A link from a source. `score` is its relevance, 0 to 1."""

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
    """A source of links. It never makes up a URL."""

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """The best links, best first; may be empty."""
        ...


class SourceError(Exception):
    """A source failed. The message is fit for a log: no key, no query.

    `retry_after_s` is the wait that it asked for, if any.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceSettings(BaseModel):
    """The address of a source, which derives its own. `daily_quota` bounds the calls per day."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = ""
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=5.0, gt=0)
    daily_quota: int | None = Field(default=None, ge=1)

    def secret(self) -> str:
        """The key in clear, or "" if none is set."""
        return self.api_key.get_secret_value() if self.api_key else ""
