"""Answers that came whole out of the pools are kept, and are no one's but the same ask's."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from hamlet.spi.sources import FoundLink, LinkQuery
from hamlet.suggest import (
    ChipBank,
    ChipSuggester,
    Draft,
    LinkSuggester,
    Suggestions,
    SuggestRequest,
    SuggestService,
    SwrCache,
    TokenSigner,
    WebSearch,
    key_hasher,
)
from hamlet.suggest.response_cache import ResponseCache

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


class FakeWeb:
    """Finds four links, and counts how often it was asked."""

    asked = 0

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        self.asked += 1
        return [
            FoundLink(f"https://s{i}.example/", f"Laptop {i}", "light", "other", "en", 1.0, "web")
            for i in range(4)
        ]


class FakeWriter:
    """Writes all drafts."""

    async def write(self, ask: SuggestRequest, drafts: list[Draft]) -> None:
        drafts.extend(DRAFTS)


class ServiceFixture:
    """A service over a web, a writer and a clock that are all pretended."""

    def __init__(self) -> None:
        self.now, self.web = 0.0, FakeWeb()
        key = key_hasher(b"salt")
        times = {"fresh_s": 60.0, "stale_s": 600.0, "clock": lambda: self.now}
        bank = ChipBank()
        links = LinkSuggester(
            FakeWeb(), WebSearch(lambda: {"web": self.web}), SwrCache(**times), key
        )
        self.service = SuggestService(
            links, ChipSuggester(bank, FakeWriter(), SwrCache(**times), key), SIGNER
        )


@pytest.fixture
def service_fixture() -> ServiceFixture:
    return ServiceFixture()


def item_ids(shown: Suggestions) -> tuple[list[str], list[str]]:
    assert shown.links is not None
    assert shown.chips is not None
    return [link.id for link in shown.links.items], [chip.id for chip in shown.chips.items]


async def test_the_same_is_shown_again_under_an_id_tokens_and_an_age_of_its_own(
    service_fixture,
) -> None:
    gathered, kept = (
        await service_fixture.service.suggest(SUGGEST_REQUEST),
        await service_fixture.service.suggest(SUGGEST_REQUEST),
    )
    service_fixture.now += 7
    again = await service_fixture.service.suggest(
        replace(SUGGEST_REQUEST, budget_ms=500, warnings=("lang_fallback",))
    )
    assert item_ids(gathered) == item_ids(kept) == item_ids(again)
    assert (kept.links.tier, again.links.tier, again.chips.tier) == ("cache", "cache", "cache")
    assert (again.cache.links.age_s, again.cache.chips.age_s) == (7.0, 7.0)
    assert (again.timing.budget_ms, again.warnings) == (500, ("lang_fallback",))
    assert [chip.grounding for chip in again.chips.items] == [
        chip.grounding for chip in gathered.chips.items
    ]
    for item in (*again.links.items, *again.chips.items):
        told = SIGNER.verify(item.token)
        assert told is not None
        assert (told.response, told.item, told.position) == (again.id, item.id, item.position)


@pytest.mark.parametrize("half", ["links", "chips"])
async def test_exclusion_applies_to_cached_response(service_fixture, half: str) -> None:
    for _ in range(3):
        before = await service_fixture.service.suggest(SUGGEST_REQUEST)
    gone = getattr(before, half).items[0].id
    after = await service_fixture.service.suggest(
        replace(SUGGEST_REQUEST, exclude=frozenset({gone}))
    )
    assert gone not in [item.id for item in getattr(after, half).items]
    assert getattr(after, half).tier == "cache"


@pytest.mark.parametrize(
    "other",
    [
        {"chip_limit": 1},
        {"link_limit": 3},
        {"chip_kinds": frozenset({"deepen", "followup"})},
        {"exclude_hosts": frozenset({"s0.example"})},
        {"action": "submit"},
        {"want_links": False},
    ],
)
async def test_cache_key_includes_request_options(service_fixture, other) -> None:
    for _ in range(3):
        await service_fixture.service.suggest(SUGGEST_REQUEST)
    asked = replace(SUGGEST_REQUEST, **other)
    remembered = await service_fixture.service.suggest(asked)
    fresh = ServiceFixture().service
    await fresh.suggest(asked)
    expected = await fresh.suggest(asked)

    def content(shown: Suggestions) -> object:
        halves = (shown.links, shown.chips)
        return [[replace(i, token="") for i in half.items] if half else None for half in halves]

    assert content(remembered) == content(expected)


@pytest.mark.parametrize("end", ["purge", "expiry"])
async def test_expired_response_is_recomputed(service_fixture, end: str) -> None:
    for _ in range(3):
        await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert service_fixture.web.asked == 1
    if end == "purge":
        await service_fixture.service.purge()
    else:
        service_fixture.now += 1000
    shown = await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert service_fixture.web.asked == 2
    assert (shown.links.tier, shown.chips.tier) == ("web", "llm")


async def test_cache_is_bounded_and_stores_no_request_text(service_fixture) -> None:
    service = service_fixture.service
    service._response_cache = hits = ResponseCache(max_entries=2)
    for query in ("quiet laptop", "light laptop", "cheap laptop"):
        for _ in range(3):
            await service.suggest(replace(SUGGEST_REQUEST, query=query))
    assert len(hits._entries) == 2
    kept = b"".join(key[0] for key in hits._entries) + msgspec.json.encode(
        [*hits._entries.values()]
    )
    assert b"quiet" not in kept
    assert b"cheap laptop" not in kept


async def test_response_expires_with_its_cache_entry(service_fixture) -> None:
    hits = service_fixture.service._response_cache
    for query in ("light laptop", "quiet laptop"):
        for _ in range(2):
            await service_fixture.service.suggest(replace(SUGGEST_REQUEST, query=query))
    first, other = hits._entries
    service_fixture.now += 100
    # What is stale by now is shown while new batches are gathered.
    await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert [*hits._entries] == [other]
    await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert len(hits._entries) == 2
    assert first not in hits._entries


async def test_search_starts_before_local_lookup(service_fixture: ServiceFixture) -> None:
    order: list[str] = []

    class Told(FakeWeb):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
            order.append(self.name)
            return await super().search(query)

    service_fixture.web = Told("web")
    service_fixture.service.set_content(Told("own"), ChipBank(), ())
    await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert order[:2] == ["web", "own"]
