"""The links half: the catalogue in hand, the web raced against the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hamlet.core.text import Language
from hamlet.spi.sources import FoundLink, LinkQuery, SupportsSearch
from hamlet.suggest.cached_fetch import Work
from hamlet.suggest.chips.bank import CRISIS
from hamlet.suggest.chips.validation import has_pii
from hamlet.suggest.content import Pin
from hamlet.suggest.links import merge as links_
from hamlet.suggest.links.rank import ranked
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.model import Ask, Degradation, Link, Links, LinkTier
from hamlet.suggest.outcome import Outcome, status
from hamlet.suggest.swr_cache import Pool

_WEB_LINKS, _MOST_INTERESTS = 20, 3
_HELP: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}
Digest = Callable[..., str]


class RelatedLinks:
    """Finds links. `source` is the catalogue in use."""

    def __init__(
        self, source: SupportsSearch, web: WebSearch, pool: Pool[FoundLink], digest: Digest
    ) -> None:
        self.source = source
        self._web = web
        self.pool = pool
        self._digest = digest

    async def in_hand(self, ask: Ask, crisis: bool, pin: Pin | None) -> Links:
        """What there is without asking anyone."""
        if crisis:
            found = await self._search(_HELP[ask.language], ask, 30)
            approved = [link for link in found if CRISIS in link.topics]
            approved.sort(key=lambda link: link.language != ask.language)
            return _half(links_.show(approved, ask, "safety"), ask, "embedded")
        if not ask.allow.embedded:
            return Links("empty", "embedded")
        if pin is not None and (first := await self._pinned(ask, pin)):
            rest = (await self.in_hand(ask, crisis, None)).items
            return _half(links_.fill(first, rest, ask), ask, "pinned")
        if ask.topic:
            found = [link for text in ask.tellings for link in await self._search(text, ask)]
            if related := links_.show(_harmless(found), ask, "matched_terms"):
                return _half(related, ask, "embedded")
        return _half(await self._editorial(ask), ask, "starter")

    async def _pinned(self, ask: Ask, pin: Pin) -> tuple[Link, ...]:
        query = LinkQuery("", ask.language, len(pin.links), keys=tuple(pin.links))
        return links_.show(await self.source.search(query), ask, "pinned") if pin.links else ()

    async def _editorial(self, ask: Ask) -> tuple[Link, ...]:
        chosen = links_.show(await self._search("", ask), ask, "editorial")
        if not ask.interests:
            return chosen
        liked = [
            found
            for interest in ask.interests[:_MOST_INTERESTS]
            for found in _harmless(await self._search(interest, ask))[:1]
        ]
        return links_.fill(links_.show(liked, ask, "editorial"), chosen, ask)

    async def _search(self, text: str, ask: Ask, limit: int = 0) -> Sequence[FoundLink]:
        wanted = limit or ask.link_limit * 3
        within_s = ask.budget_ms / 1000
        return await self.source.search(LinkQuery(text, ask.language, wanted, within_s=within_s))

    def begin(self, ask: Ask, crisis: bool) -> Work[FoundLink] | None:
        """What the web has for this context: had, on its way, or begun now; None if not asked."""
        if crisis or not self._web or not ask.headline or has_pii(ask.headline):
            return None
        if not ask.allow.web:
            return None
        query = LinkQuery(
            ask.headline, ask.language, _WEB_LINKS, ask.country, ask.freshness, ask.safe
        )
        place = (query.language, query.text, query.country or "", query.freshness, query.safe)
        key = "l:" + self._digest(*place)
        return Work.of(
            self.pool,
            key,
            lambda found: self._ranked(query, found),
            stale=ask.allow.stale,
        )

    async def _ranked(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Ask the web, and put what it found in order: once, for all who ask the same."""
        gathered: list[FoundLink] = []
        await self._web.search(query, gathered)
        found += ranked(gathered, query.text, query.freshness, datetime.now(UTC))

    def would_ask(self, ask: Ask, crisis: bool) -> bool:
        """Whether the web would have been asked, were there room."""
        return ask.overloaded and not crisis and bool(self._web) and bool(ask.headline)

    def kept(self, ask: Ask, work: Work[FoundLink]) -> Outcome[Links] | None:
        """The fresh cache's links, if they are all that was asked for."""
        web = links_.show(work.usable, ask, "matched_terms") if work.had else ()
        if len(web) < ask.link_limit:
            return None
        return Outcome(_half(web, ask, work.tier("web")), (), work.state())

    def better(self, ask: Ask, own: Links, work: Work[FoundLink]) -> Outcome[Links]:
        """The web's links, filled up from the catalogue; or the catalogue's, and why."""
        web = links_.show(work.usable, ask, "matched_terms")
        if not web:
            missed = Degradation("links", "web", own.tier, work.why_not())
            return Outcome(own, (missed,), work.state())
        first = tuple(link for link in own.items if link.why.code == "pinned")
        related = own.items if own.tier in ("embedded", "pinned") else ()
        items = links_.fill(first, (*web, *related), ask)
        tier: LinkTier = "pinned" if first else work.tier("web")
        return Outcome(_half(items, ask, tier), (), work.state())


def _harmless(found: Sequence[FoundLink]) -> list[FoundLink]:
    """Help lines are for those who need them."""
    return [link for link in found if CRISIS not in link.topics]


def _half(items: tuple[Link, ...], ask: Ask, tier: LinkTier) -> Links:
    return Links(status(len(items), ask.link_limit), tier, items)
