"""The links section: from the catalogue at once, and from the web within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from hamlet.core.text import Language
from hamlet.spi.sources import FoundLink, LinkQuery, SupportsSearch
from hamlet.suggest.cache import CachedFetch, KeyHasher, SwrCache
from hamlet.suggest.content import CRISIS_TOPIC, Pin
from hamlet.suggest.links.ranking import rank_links
from hamlet.suggest.links.selection import merge_links, select_links
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.model import Degradation, Link, Links, LinkTier, SuggestRequest
from hamlet.suggest.safety import has_pii
from hamlet.suggest.section_result import SectionResult, section_status

_WEB_LINKS, _CRISIS_LINKS, _MAX_INTERESTS = 20, 30, 3
_CRISIS_QUERIES: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}


class LinkSuggester:
    """Finds links in the catalogue and on the web."""

    def __init__(
        self,
        catalogue: Callable[[], SupportsSearch],
        web: WebSearch,
        cache: SwrCache[FoundLink],
        hash_key: KeyHasher,
    ) -> None:
        """`catalogue` returns the one in use."""
        self._catalogue = catalogue
        self._web = web
        self.cache = cache
        self._hash_key = hash_key

    async def local(self, request: SuggestRequest, is_crisis: bool, pin: Pin | None) -> Links:
        """The links of the catalogue, which need no network."""
        if is_crisis:
            found = await self._search_catalogue(
                _CRISIS_QUERIES[request.language], request, _CRISIS_LINKS
            )
            approved = [link for link in found if CRISIS_TOPIC in link.topics]
            approved.sort(key=lambda link: link.language != request.language)
            return _link_section(select_links(approved, request, "safety"), request, "embedded")
        if not request.allow.embedded:
            return Links("empty", "embedded")
        if pin is not None and (first := await self._pinned_links(request, pin)):
            rest = (await self.local(request, is_crisis, None)).items
            return _link_section(merge_links(first, rest, request), request, "pinned")
        if request.context_text:
            found = [
                link
                for text in request.search_texts
                for link in await self._search_catalogue(text, request)
            ]
            if related := select_links(_without_crisis_links(found), request, "matched_terms"):
                return _link_section(related, request, "embedded")
        return _link_section(await self._editorial_links(request), request, "starter")

    async def _pinned_links(self, request: SuggestRequest, pin: Pin) -> tuple[Link, ...]:
        query = LinkQuery("", request.language, len(pin.links), keys=tuple(pin.links))
        return (
            select_links(await self._catalogue().search(query), request, "pinned")
            if pin.links
            else ()
        )

    async def _editorial_links(self, request: SuggestRequest) -> tuple[Link, ...]:
        chosen = select_links(await self._search_catalogue("", request), request, "editorial")
        if not request.interests:
            return chosen
        by_interest = [
            found
            for interest in request.interests[:_MAX_INTERESTS]
            for found in _without_crisis_links(await self._search_catalogue(interest, request))[:1]
        ]
        return merge_links(select_links(by_interest, request, "editorial"), chosen, request)

    async def _search_catalogue(
        self, text: str, request: SuggestRequest, limit: int = 0
    ) -> Sequence[FoundLink]:
        wanted = limit or request.link_limit * 3
        within_s = request.budget_ms / 1000
        return await self._catalogue().search(
            LinkQuery(text, request.language, wanted, within_s=within_s)
        )

    def start_fetch(
        self, request: SuggestRequest, is_crisis: bool
    ) -> CachedFetch[FoundLink] | None:
        """The web's links for this context, cached or being fetched; None if it is not searched."""
        if is_crisis or not request.allow.web or not self._web:
            return None
        text = request.search_query
        if not text or has_pii(text):
            return None
        query = LinkQuery(
            text, request.language, _WEB_LINKS, request.country, request.freshness, request.safe
        )
        key_parts = (query.language, query.text, query.country or "", query.freshness, query.safe)
        key = "l:" + self._hash_key(*key_parts)
        return CachedFetch.start(
            self.cache,
            key,
            lambda found: self._fetch_ranked(query, found),
            allow_stale=request.allow.stale,
        )

    async def _fetch_ranked(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Search the web and rank the results, once for all requests with the same query."""
        results: list[FoundLink] = []
        await self._web.search(query, results)
        found += rank_links(results, query.text, query.freshness, datetime.now(UTC))

    def is_shed(self, request: SuggestRequest, is_crisis: bool) -> bool:
        """Whether the web is not searched only because hamlet is overloaded."""
        return (
            request.overloaded and not is_crisis and bool(self._web) and bool(request.search_query)
        )

    def from_cache(
        self, request: SuggestRequest, fetch: CachedFetch[FoundLink]
    ) -> SectionResult[Links] | None:
        """The links of a fresh entry, if they fill the section."""
        web = select_links(fetch.items, request, "matched_terms") if fetch.is_hit else ()
        if len(web) < request.link_limit:
            return None
        return SectionResult(
            _link_section(web, request, fetch.tier("web")), (), fetch.cache_state()
        )

    def merged(
        self, request: SuggestRequest, local_section: Links, fetch: CachedFetch[FoundLink]
    ) -> SectionResult[Links]:
        """The web's links, completed from `local_section`; or that one alone, and why."""
        web = select_links(fetch.items, request, "matched_terms")
        if not web:
            missed = Degradation("links", "web", local_section.tier, fetch.miss_reason())
            return SectionResult(local_section, (missed,), fetch.cache_state())
        first = tuple(link for link in local_section.items if link.why.code == "pinned")
        related = local_section.items if local_section.tier in ("embedded", "pinned") else ()
        items = merge_links(first, (*web, *related), request)
        tier: LinkTier = "pinned" if first else fetch.tier("web")
        return SectionResult(_link_section(items, request, tier), (), fetch.cache_state())


def _without_crisis_links(found: Sequence[FoundLink]) -> list[FoundLink]:
    """The links without the help lines, which are shown in a crisis only."""
    return [link for link in found if CRISIS_TOPIC not in link.topics]


def _link_section(items: tuple[Link, ...], request: SuggestRequest, tier: LinkTier) -> Links:
    return Links(section_status(len(items), request.link_limit), tier, items)
