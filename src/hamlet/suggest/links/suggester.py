"""The links half: the catalogue in hand, the web raced against the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hamlet.core.text import Language
from hamlet.spi.sources import FoundLink, LinkQuery, SupportsSearch
from hamlet.suggest.cached_fetch import CachedFetch
from hamlet.suggest.chips.bank import CRISIS_TOPIC
from hamlet.suggest.chips.validation import has_pii
from hamlet.suggest.content import Pin
from hamlet.suggest.links import selection as links_
from hamlet.suggest.links.ranking import rank_links
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.model import Degradation, Link, Links, LinkTier, SuggestRequest
from hamlet.suggest.section_result import SectionResult, section_status
from hamlet.suggest.swr_cache import SwrCache

_WEB_LINKS, _MAX_INTERESTS = 20, 3
_CRISIS_QUERIES: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}
KeyHasher = Callable[..., str]


class LinkSuggester:
    """Finds links. `source` is the catalogue in use."""

    def __init__(
        self,
        catalogue: SupportsSearch,
        web: WebSearch,
        cache: SwrCache[FoundLink],
        hash_key: KeyHasher,
    ) -> None:
        self.catalogue = catalogue
        self._web = web
        self.cache = cache
        self._hash_key = hash_key

    async def local(self, ask: SuggestRequest, is_crisis: bool, pin: Pin | None) -> Links:
        """What there is without asking anyone."""
        if is_crisis:
            found = await self._search_catalogue(_CRISIS_QUERIES[ask.language], ask, 30)
            approved = [link for link in found if CRISIS_TOPIC in link.topics]
            approved.sort(key=lambda link: link.language != ask.language)
            return _link_section(links_.select_links(approved, ask, "safety"), ask, "embedded")
        if not ask.allow.embedded:
            return Links("empty", "embedded")
        if pin is not None and (first := await self._pinned_links(ask, pin)):
            rest = (await self.local(ask, is_crisis, None)).items
            return _link_section(links_.merge_links(first, rest, ask), ask, "pinned")
        if ask.context_text:
            found = [
                link
                for text in ask.search_texts
                for link in await self._search_catalogue(text, ask)
            ]
            if related := links_.select_links(_without_crisis_links(found), ask, "matched_terms"):
                return _link_section(related, ask, "embedded")
        return _link_section(await self._editorial_links(ask), ask, "starter")

    async def _pinned_links(self, ask: SuggestRequest, pin: Pin) -> tuple[Link, ...]:
        query = LinkQuery("", ask.language, len(pin.links), keys=tuple(pin.links))
        return (
            links_.select_links(await self.catalogue.search(query), ask, "pinned")
            if pin.links
            else ()
        )

    async def _editorial_links(self, ask: SuggestRequest) -> tuple[Link, ...]:
        chosen = links_.select_links(await self._search_catalogue("", ask), ask, "editorial")
        if not ask.interests:
            return chosen
        by_interest = [
            found
            for interest in ask.interests[:_MAX_INTERESTS]
            for found in _without_crisis_links(await self._search_catalogue(interest, ask))[:1]
        ]
        return links_.merge_links(links_.select_links(by_interest, ask, "editorial"), chosen, ask)

    async def _search_catalogue(
        self, text: str, ask: SuggestRequest, limit: int = 0
    ) -> Sequence[FoundLink]:
        wanted = limit or ask.link_limit * 3
        within_s = ask.budget_ms / 1000
        return await self.catalogue.search(LinkQuery(text, ask.language, wanted, within_s=within_s))

    def start_fetch(self, ask: SuggestRequest, is_crisis: bool) -> CachedFetch[FoundLink] | None:
        """What the web has for this context: had, on its way, or begun now; None if not asked."""
        if is_crisis or not self._web or not ask.search_query or has_pii(ask.search_query):
            return None
        if not ask.allow.web:
            return None
        query = LinkQuery(
            ask.search_query, ask.language, _WEB_LINKS, ask.country, ask.freshness, ask.safe
        )
        key_parts = (query.language, query.text, query.country or "", query.freshness, query.safe)
        key = "l:" + self._hash_key(*key_parts)
        return CachedFetch.start(
            self.cache,
            key,
            lambda found: self._fetch_ranked(query, found),
            allow_stale=ask.allow.stale,
        )

    async def _fetch_ranked(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Ask the web, and put what it found in order: once, for all who ask the same."""
        gathered: list[FoundLink] = []
        await self._web.search(query, gathered)
        found += rank_links(gathered, query.text, query.freshness, datetime.now(UTC))

    def is_shed(self, ask: SuggestRequest, is_crisis: bool) -> bool:
        """Whether the web would have been asked, were there room."""
        return ask.overloaded and not is_crisis and bool(self._web) and bool(ask.search_query)

    def from_cache(
        self, ask: SuggestRequest, fetch: CachedFetch[FoundLink]
    ) -> SectionResult[Links] | None:
        """The fresh cache's links, if they are all that was asked for."""
        web = links_.select_links(fetch.items, ask, "matched_terms") if fetch.is_hit else ()
        if len(web) < ask.link_limit:
            return None
        return SectionResult(_link_section(web, ask, fetch.tier("web")), (), fetch.cache_state())

    def merged(
        self, ask: SuggestRequest, local_section: Links, fetch: CachedFetch[FoundLink]
    ) -> SectionResult[Links]:
        """The web's links, filled up from the catalogue; or the catalogue's, and why."""
        web = links_.select_links(fetch.items, ask, "matched_terms")
        if not web:
            missed = Degradation("links", "web", local_section.tier, fetch.miss_reason())
            return SectionResult(local_section, (missed,), fetch.cache_state())
        first = tuple(link for link in local_section.items if link.why.code == "pinned")
        related = local_section.items if local_section.tier in ("embedded", "pinned") else ()
        items = links_.merge_links(first, (*web, *related), ask)
        tier: LinkTier = "pinned" if first else fetch.tier("web")
        return SectionResult(_link_section(items, ask, tier), (), fetch.cache_state())


def _without_crisis_links(found: Sequence[FoundLink]) -> list[FoundLink]:
    """Help lines are for those who need them."""
    return [link for link in found if CRISIS_TOPIC not in link.topics]


def _link_section(items: tuple[Link, ...], ask: SuggestRequest, tier: LinkTier) -> Links:
    return Links(section_status(len(items), ask.link_limit), tier, items)
