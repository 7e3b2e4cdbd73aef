"""Answers that came whole out of the pools are kept, and are no one's but the same ask's."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from hamlet.spi.sources import FoundLink, LinkQuery
from hamlet.suggest import (
    Ask,
    ChipBank,
    Draft,
    DynamicChips,
    Pool,
    RelatedLinks,
    Signer,
    Suggestions,
    SuggestService,
    WebSearch,
    digest,
)
from hamlet.suggest.response_cache import Hits

DRAFTS = (
    Draft("Compare light laptops", "Compare three light laptops for me", "compare"),
    Draft("Best battery life", "Which laptop has the best battery?", "howto"),
    Draft("Used or new?", "Should I buy a used laptop or a new one?", "followup"),
    Draft("Keyboards that last", "Which laptop has a keyboard that lasts?", "deepen"),
)
ASK = Ask("en", "search", query="light laptop", link_limit=2, chip_limit=2, budget_ms=2000)
SIGNER = Signer(b"secret")


class Web:
    """Finds four links, and counts how often it was asked."""

    asked = 0

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        self.asked += 1
        return [
            FoundLink(f"https://s{i}.example/", f"Laptop {i}", "light", "other", "en", 1.0, "web")
            for i in range(4)
        ]


class Writer:
    """Writes all drafts."""

    async def write(self, ask: Ask, drafts: list[Draft]) -> None:
        drafts.extend(DRAFTS)


class Stand:
    """A service over a web, a writer and a clock that are all pretended."""

    def __init__(self) -> None:
        self.now, self.web = 0.0, Web()
        key = digest(b"salt")
        times = {"fresh_s": 60.0, "stale_s": 600.0, "clock": lambda: self.now}
        bank = ChipBank()
        links = RelatedLinks(Web(), WebSearch(lambda: {"web": self.web}), Pool(**times), key)
        self.service = SuggestService(
            links, DynamicChips(bank, Writer(), Pool(**times), key), SIGNER
        )


@pytest.fixture
def stand() -> Stand:
    return Stand()


def ids(shown: Suggestions) -> tuple[list[str], list[str]]:
    assert shown.links is not None
    assert shown.chips is not None
    return [link.id for link in shown.links.items], [chip.id for chip in shown.chips.items]


async def test_the_same_is_shown_again_under_an_id_tokens_and_an_age_of_its_own(stand) -> None:
    gathered, kept = await stand.service.suggest(ASK), await stand.service.suggest(ASK)
    stand.now += 7
    again = await stand.service.suggest(replace(ASK, budget_ms=500, warnings=("lang_fallback",)))
    assert ids(gathered) == ids(kept) == ids(again)
    assert (kept.links.tier, again.links.tier, again.chips.tier) == ("cache", "cache", "cache")
    assert (again.cache.links.age_s, again.cache.chips.age_s) == (7.0, 7.0)
    assert (again.timing.budget_ms, again.warnings) == (500, ("lang_fallback",))
    assert [chip.grounding for chip in again.chips.items] == [
        chip.grounding for chip in gathered.chips.items
    ]
    for item in (*again.links.items, *again.chips.items):
        told = SIGNER.read(item.token)
        assert told is not None
        assert (told.response, told.item, told.position) == (again.id, item.id, item.position)


@pytest.mark.parametrize("half", ["links", "chips"])
async def test_what_is_excluded_is_not_shown_though_it_was_before(stand, half: str) -> None:
    for _ in range(3):
        before = await stand.service.suggest(ASK)
    gone = getattr(before, half).items[0].id
    after = await stand.service.suggest(replace(ASK, exclude=frozenset({gone})))
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
async def test_another_wish_for_the_same_context_gets_its_own_answer(stand, other) -> None:
    for _ in range(3):
        await stand.service.suggest(ASK)
    asked = replace(ASK, **other)
    remembered = await stand.service.suggest(asked)
    fresh = Stand().service
    await fresh.suggest(asked)
    expected = await fresh.suggest(asked)

    def content(shown: Suggestions) -> object:
        halves = (shown.links, shown.chips)
        return [[replace(i, token="") for i in half.items] if half else None for half in halves]

    assert content(remembered) == content(expected)


@pytest.mark.parametrize("end", ["purge", "expiry"])
async def test_what_is_no_longer_kept_is_asked_for_anew(stand, end: str) -> None:
    for _ in range(3):
        await stand.service.suggest(ASK)
    assert stand.web.asked == 1
    if end == "purge":
        await stand.service.purge()
    else:
        stand.now += 1000
    shown = await stand.service.suggest(ASK)
    assert stand.web.asked == 2
    assert (shown.links.tier, shown.chips.tier) == ("web", "llm")


async def test_only_so_many_are_kept_and_nothing_that_was_asked_is(stand) -> None:
    service = stand.service
    service._hits = hits = Hits(most=2)
    for query in ("quiet laptop", "light laptop", "cheap laptop"):
        for _ in range(3):
            await service.suggest(replace(ASK, query=query))
    assert len(hits._kept) == 2
    kept = b"".join(key[0] for key in hits._kept) + msgspec.json.encode([*hits._kept.values()])
    assert b"quiet" not in kept
    assert b"cheap laptop" not in kept


async def test_an_answer_goes_with_the_batch_that_it_came_from(stand) -> None:
    hits = stand.service._hits
    for query in ("light laptop", "quiet laptop"):
        for _ in range(2):
            await stand.service.suggest(replace(ASK, query=query))
    first, other = hits._kept
    stand.now += 100
    # What is stale by now is shown while new batches are gathered.
    await stand.service.suggest(ASK)
    assert [*hits._kept] == [other]
    await stand.service.suggest(ASK)
    assert len(hits._kept) == 2
    assert first not in hits._kept


async def test_the_web_is_asked_before_the_own_answer_is_looked_up(stand: Stand) -> None:
    order: list[str] = []

    class Told(Web):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
            order.append(self.name)
            return await super().search(query)

    stand.web = Told("web")
    stand.service.use(Told("own"), ChipBank(), ())
    await stand.service.suggest(ASK)
    assert order[:2] == ["web", "own"]
