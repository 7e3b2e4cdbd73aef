"""Responses from fresh cache entries are cached, for requests with the same parameters only."""

from dataclasses import replace

import msgspec
import pytest

from hamlet.suggest import Suggestions
from support.suggest import SIGNER, SUGGEST_REQUEST, ServiceFixture


@pytest.fixture
def service_fixture() -> ServiceFixture:
    return ServiceFixture()


def item_ids(shown: Suggestions) -> tuple[list[str], list[str]]:
    assert shown.links is not None
    assert shown.chips is not None
    return [link.id for link in shown.links.items], [chip.id for chip in shown.chips.items]


async def test_cached_response_has_its_own_id_tokens_and_age(
    service_fixture,
) -> None:
    fetched, cached = (
        await service_fixture.service.suggest(SUGGEST_REQUEST),
        await service_fixture.service.suggest(SUGGEST_REQUEST),
    )
    service_fixture.now += 7
    again = await service_fixture.service.suggest(
        replace(SUGGEST_REQUEST, budget_ms=500, warnings=("lang_fallback",))
    )
    assert item_ids(fetched) == item_ids(cached) == item_ids(again)
    assert (cached.links.tier, again.links.tier, again.chips.tier) == ("cache", "cache", "cache")
    assert (again.cache.links.age_s, again.cache.chips.age_s) == (7.0, 7.0)
    assert (again.timing.budget_ms, again.warnings) == (500, ("lang_fallback",))
    assert [chip.grounding for chip in again.chips.items] == [
        chip.grounding for chip in fetched.chips.items
    ]
    for item in (*again.links.items, *again.chips.items):
        shown = SIGNER.verify(item.token)
        assert shown is not None
        assert (shown.response, shown.item, shown.position) == (again.id, item.id, item.position)


@pytest.mark.parametrize("section", ["links", "chips"])
async def test_exclusion_applies_to_cached_response(service_fixture, section: str) -> None:
    for _ in range(3):
        before = await service_fixture.service.suggest(SUGGEST_REQUEST)
    excluded = getattr(before, section).items[0].id
    after = await service_fixture.service.suggest(
        replace(SUGGEST_REQUEST, exclude=frozenset({excluded}))
    )
    assert excluded not in [item.id for item in getattr(after, section).items]
    assert getattr(after, section).tier == "cache"


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
    request = replace(SUGGEST_REQUEST, **other)
    cached = await service_fixture.service.suggest(request)
    fresh = ServiceFixture().service
    await fresh.suggest(request)
    expected = await fresh.suggest(request)

    def content(shown: Suggestions) -> object:
        sections = (shown.links, shown.chips)
        return [[replace(i, token="") for i in each.items] if each else None for each in sections]

    assert content(cached) == content(expected)


@pytest.mark.parametrize("end", ["purge", "expiry"])
async def test_expired_response_is_recomputed(service_fixture, end: str) -> None:
    for _ in range(3):
        await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert service_fixture.web.call_count == 1
    if end == "purge":
        await service_fixture.service.purge()
    else:
        service_fixture.now += 1000
    shown = await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert service_fixture.web.call_count == 2
    assert (shown.links.tier, shown.chips.tier) == ("web", "llm")


async def test_cache_is_bounded_and_stores_no_request_text() -> None:
    service_fixture = ServiceFixture(max_responses=2)
    entries = service_fixture.response_cache._entries
    for query in ("quiet laptop", "light laptop", "cheap laptop"):
        for _ in range(3):
            await service_fixture.service.suggest(replace(SUGGEST_REQUEST, query=query))
    assert len(entries) == 2
    stored = b"".join(key[0] for key in entries) + msgspec.json.encode([*entries.values()])
    assert b"quiet" not in stored
    assert b"cheap laptop" not in stored


async def test_response_expires_with_its_cache_entry(service_fixture) -> None:
    entries = service_fixture.response_cache._entries
    for query in ("light laptop", "quiet laptop"):
        for _ in range(2):
            await service_fixture.service.suggest(replace(SUGGEST_REQUEST, query=query))
    first, other = entries
    service_fixture.now += 100
    # The stale entries are served while they are revalidated.
    await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert [*entries] == [other]
    await service_fixture.service.suggest(SUGGEST_REQUEST)
    assert len(entries) == 2
    assert first not in entries
