"""The contract for link sources, found through the entry-point group `hamlet.sources`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hamlet.core.text import Language


@dataclass(frozen=True, slots=True)
class LinkQuery:
    """What to find links for; an empty text asks for the editors' choice."""

    text: str
    language: Language
    limit: int


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


@runtime_checkable
class SupportsSearch(Protocol):
    """A source of links. Never gives a URL it has not got."""

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """The best links, best first; perhaps none."""
        ...
