"""Pins: rows that editors show first, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hamlet.core.text import Language, normalize

Keys = Annotated[list[str], Meta(max_length=12)]


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to show first, by key. A field that is None matches everything; `query` is exact."""

    links: Keys = []
    chips: Keys = []
    lang: Language | None = None
    surface: Literal["home", "search", "chat", "page"] | None = None
    query: Annotated[str, Meta(max_length=200)] | None = None

    def matches(self, language: Language, surface: str, query: str) -> bool:
        """Whether the pin applies to this context."""
        return (
            self.lang in (None, language)
            and self.surface in (None, surface)
            and (self.query is None or normalize(self.query).strip() == normalize(query).strip())
        )


def find_pin(pins: Sequence[Pin], language: Language, surface: str, query: str) -> Pin | None:
    """The first pin that applies to a context."""
    return next((pin for pin in pins if pin.matches(language, surface, query)), None)
