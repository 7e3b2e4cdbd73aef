"""A suggest service over a simulated web, writer and clock."""

from collections.abc import Callable, Sequence

from hamlet.spi.sources import FoundLink, LinkQuery
from hamlet.suggest import (
    ChipBank,
    ChipSuggester,
    ContentHolder,
    Draft,
    LinkSuggester,
    ResponseCache,
    ServedContent,
    SuggestRequest,
    SuggestService,
    SwrCache,
    TokenSigner,
    WebSearch,
    key_hasher,
)

DRAFTS = (
    Draft("Compare light laptops", "Compare three light laptops for me", "compare"),
    Draft("Best battery life", "Which laptop has the best battery?", "howto"),
    Draft("Used or new?", "Should I buy a used laptop or a new one?", "followup"),
    Draft("Keyboards that last", "Which laptop has a keyboard that lasts?", "deepen"),
)
SUGGEST_REQUEST = SuggestRequest(
    "en", "search", query="light laptop", link_limit=2, chip_limit=2, budget_ms=2000
)
SIGNER = TokenSigner(b"secret")


class FakeSource:
    """Finds four links, and counts and reports its calls."""

    def __init__(self, on_search: Callable[[], None] = lambda: None) -> None:
        self.call_count = 0
        self._on_search = on_search

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        self.call_count += 1
        self._on_search()
        return [
            FoundLink(f"https://s{i}.example/", f"Laptop {i}", "light", "other", "en", 1.0, "web")
            for i in range(4)
        ]


class FakeWriter:
    """Writes all drafts at once."""

    async def write(self, request: SuggestRequest, drafts: list[Draft]) -> None:
        drafts.extend(DRAFTS)


class ServiceFixture:
    """The service, and what it is built of. `now` is the time of its caches, in seconds."""

    def __init__(self, max_responses: int = 100) -> None:
        self.now = 0.0
        self.web = FakeSource()
        self.catalogue = FakeSource()
        self.response_cache = ResponseCache(max_responses)
        hash_key = key_hasher(b"salt")
        content = ContentHolder(ServedContent(self.catalogue, ChipBank()))
        links = LinkSuggester(
            lambda: content.current.catalogue,
            WebSearch(lambda: {"web": self.web}),
            self._make_cache(),
            hash_key,
        )
        chips = ChipSuggester(
            lambda: content.current.bank, FakeWriter(), self._make_cache(), hash_key
        )
        self.service = SuggestService(content, links, chips, self.response_cache, SIGNER)

    def _make_cache(self) -> SwrCache:
        return SwrCache(
            fresh_s=60.0,
            stale_s=600.0,
            clock=lambda: self.now,
            on_evict=self.response_cache.invalidate,
        )
