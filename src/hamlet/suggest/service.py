"""Suggest for a context: the embedded tier, computed at once, and starters below it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from hamlet.core.text import Language
from hamlet.spi.sources import FoundLink, LinkQuery, SupportsSearch
from hamlet.suggest import chips as chips_
from hamlet.suggest import links as links_
from hamlet.suggest.chips import ChipBank
from hamlet.suggest.model import Ask, Chip, Chips, Link, Links, Suggestions, Timing
from hamlet.suggest.safety import in_crisis

_CRISIS = "crisis"


class SuggestService:
    """Answers every valid ask with something to tap. Asks no network."""

    def __init__(self, source: SupportsSearch, bank: ChipBank | None = None) -> None:
        self._source = source
        self._bank = bank or ChipBank()

    async def suggest(self, ask: Ask) -> Suggestions:
        """Links and chips for a context."""
        start = time.perf_counter()
        crisis = in_crisis(" ".join(ask.said))
        links = await self._links(ask, crisis) if ask.want_links else None
        after_links = time.perf_counter()
        chips = self._chips(ask, crisis) if ask.want_chips else None
        end = time.perf_counter()
        return Suggestions(
            id=f"sg_{secrets.token_hex(10)}",
            created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            lang=ask.language,
            surface=ask.surface,
            links=links,
            chips=chips,
            timing=Timing(
                budget_ms=ask.budget_ms,
                total_ms=_ms(end - start),
                links_ms=_ms(after_links - start),
                chips_ms=_ms(end - after_links),
            ),
        )

    async def _links(self, ask: Ask, crisis: bool) -> Links:
        if crisis:
            found = await self._search(_HELP[ask.language], ask, 30)
            approved = [link for link in found if _CRISIS in link.topics]
            approved.sort(key=lambda link: link.language != ask.language)
            return _half(links_.show(approved, ask, "safety"), ask, "embedded")
        if ask.topic:
            found = [f for f in await self._search(ask.topic, ask) if _CRISIS not in f.topics]
            if related := links_.show(found, ask, "matched_terms"):
                return _half(related, ask, "embedded")
        chosen = await self._search("", ask)
        return _half(links_.show(chosen, ask, "editorial"), ask, "starter")

    async def _search(self, text: str, ask: Ask, limit: int = 0) -> Sequence[FoundLink]:
        wanted = limit or ask.link_limit * 3
        return await self._source.search(LinkQuery(text, ask.language, wanted))

    def _chips(self, ask: Ask, crisis: bool) -> Chips:
        if crisis:
            return _chip_half(chips_.show(self._bank.about(_CRISIS), ask), ask, "embedded")
        related = chips_.show(self._bank.related(ask.topic), ask) if ask.topic else []
        surface = "home" if ask.surface == "search" else ask.surface
        below = self._bank.starters(surface, ask.hour) + self._bank.starters("home", ask.hour)
        below = [intent for intent in below if _CRISIS not in intent.topics]
        return _chip_half(
            chips_.show(below, ask, related), ask, "embedded" if related else "starter"
        )


_HELP: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}


def _half(items: tuple[Link, ...], ask: Ask, tier: str) -> Links:
    status = "ok" if len(items) == ask.link_limit else "partial" if items else "empty"
    return Links(status, tier, items)  # type: ignore[arg-type]


def _chip_half(items: list[Chip], ask: Ask, tier: str) -> Chips:
    status = "ok" if len(items) == ask.chip_limit else "partial" if items else "empty"
    return Chips(status, tier, tuple(items))  # type: ignore[arg-type]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
