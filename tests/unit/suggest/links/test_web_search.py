"""The parts of the main screen that have a memory: breaker, shared cache, explorer, vectors."""

import asyncio
import gc
import random
from dataclasses import replace

import numpy as np
import pytest

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError
from hamlet.suggest import Draft, Explorer, RedisStore, SwrCache, WebSearch
from hamlet.suggest.cached_fetch import CachedFetch
from hamlet.suggest.content import shipped_links
from hamlet.suggest.model import Chip
from hamlet.suggest.retrieval import Embedder, HybridIndex, load_encoder
from hamlet.suggest.retrieval.embedder import _has_avx2
from support.clock import ManualClock
from support.redis import redis_server
from support.server import wait_until

QUERY = LinkQuery("서울", "ko", 5)
LINK = FoundLink("https://example.org/", "t", "s", "other", "en", 1.0, "x")


class FakeSource:
    def __init__(self, finds: list[FoundLink] | None = None) -> None:
        self.error: Exception | None = None
        self.call_count = 0
        self.results = [LINK] if finds is None else finds
        self.release = asyncio.Event()
        self.release.set()

    async def search(self, query: LinkQuery) -> list[FoundLink]:
        self.call_count += 1
        await self.release.wait()
        if self.error:
            raise self.error
        return self.results


async def search_succeeds(web: WebSearch) -> bool:
    found: list[FoundLink] = []
    try:
        await web.search(QUERY, found)
    except SourceError:
        return False
    return found == [LINK]


async def test_failing_source_is_skipped_for_next() -> None:
    clock, bad, good = ManualClock(), FakeSource(), FakeSource()
    bad.error = SourceError("down")
    web = WebSearch(lambda: {"bad": bad, "good": good}, clock)
    for _ in range(5):
        assert await search_succeeds(web)
    assert (bad.call_count, good.call_count) == (3, 5)
    assert web.status()["bad"]["state"] == "open"
    clock.now += 16
    bad.error = None
    assert await search_succeeds(web)
    assert (bad.call_count, good.call_count, web.status()["bad"]["state"]) == (4, 5, "closed")


async def test_a_source_that_says_how_long_is_asked_again_only_then() -> None:
    clock, source = ManualClock(), FakeSource()
    source.error = SourceError("429", 30.0)
    web = WebSearch(lambda: {"one": source}, clock)
    assert not await search_succeeds(web)
    source.error = None
    clock.now += 29
    assert not await search_succeeds(web)
    clock.now += 2
    assert await search_succeeds(web)
    assert source.call_count == 2


OTHER = replace(LINK, url="https://example.com/")


def block_source(source: FakeSource) -> FakeSource:
    source.release.clear()
    return source


def start_search(
    hedge_after_s: float | None, **sources: FakeSource
) -> tuple[WebSearch, asyncio.Task]:
    """A search that has begun, and asked whom it asks at once."""
    web = WebSearch(lambda: sources, hedge_after_s=hedge_after_s)
    found: list[FoundLink] = []

    async def search() -> list[FoundLink]:
        await web.search(QUERY, found)
        return found

    return web, asyncio.create_task(search())


async def test_without_a_hedge_a_slow_source_is_waited_for_alone() -> None:
    first, second = block_source(FakeSource()), FakeSource([OTHER])
    _, task = start_search(None, first=first, second=second)
    await wait_until(lambda: first.call_count == 1)
    first.release.set()
    assert await task == [LINK]
    assert second.call_count == 0


@pytest.mark.parametrize("after_s", [0.0, 0.02])
async def test_a_hedge_has_the_next_source_answer_for_a_slow_one(after_s: float) -> None:
    first, second, third = block_source(FakeSource()), FakeSource([OTHER]), FakeSource()
    web, task = start_search(after_s, first=first, second=second, third=third)
    assert await task == [OTHER]
    assert (first.call_count, second.call_count, third.call_count) == (1, 1, 0), (
        "never more than two"
    )
    first.release.set()
    await wait_until(lambda: web.status()["first"]["answered"] == 1)


async def test_a_source_that_answers_in_time_is_not_hedged() -> None:
    first, second = FakeSource(), FakeSource([OTHER])
    _, task = start_search(30.0, first=first, second=second)
    assert await task == [LINK]
    assert second.call_count == 0


async def test_a_hedge_that_fails_or_finds_nothing_leaves_it_to_the_slow_one() -> None:
    for second, asked in ((FakeSource([]), 0), (FakeSource(), 1)):
        first, third = block_source(FakeSource()), block_source(FakeSource())
        second.error = SourceError("down") if second.results else None
        web, task = start_search(0.0, first=first, second=second, third=third)
        await wait_until(lambda second=second: second.call_count == 1)
        await wait_until(lambda third=third, asked=asked: third.call_count == asked)
        first.release.set()
        assert await task == [LINK]
        await web.aclose()


@pytest.mark.parametrize("hedge_after_s", [None, 0.0])
async def test_a_sources_own_mistake_costs_no_other_its_answer(hedge_after_s) -> None:
    broken, good = FakeSource(), block_source(FakeSource([OTHER]))
    broken.error = KeyError("title")
    web, task = start_search(hedge_after_s, broken=broken, good=good)
    await wait_until(lambda: good.call_count == 1 and web.status()["broken"]["failed"] == 1)
    good.release.set()
    assert await task == [OTHER]


async def test_nothing_found_is_an_answer_where_the_other_fails() -> None:
    first, second = block_source(FakeSource()), FakeSource([])
    first.error = SourceError("down")
    _, task = start_search(0.0, first=first, second=second, third=FakeSource())
    await wait_until(lambda: second.call_count == 1)
    first.release.set()
    assert await task == []


async def test_late_failure_of_hedge_loser_opens_its_breaker(caplog) -> None:
    first = block_source(FakeSource())
    first.error = SourceError("429", 30.0)
    web, task = start_search(0.0, first=first, second=FakeSource())
    assert await task == [LINK]
    first.release.set()
    await wait_until(lambda: web.status()["first"]["state"] == "open")
    await web.aclose()
    gc.collect()
    assert not caplog.records, "an exception that nobody took would be told"


async def test_close_cancels_pending_searches() -> None:
    first = block_source(FakeSource())
    web, task = start_search(0.0, first=first, second=FakeSource())
    assert await task == [LINK]
    before = len(asyncio.all_tasks())
    await web.aclose()
    assert len(asyncio.all_tasks()) == before - 1


def make_chip(name: str) -> Chip:
    return Chip(name, name, name, "fill", "howto", "spark", "ko", 1)


def test_the_explorer_moves_only_the_last_slot_and_tells_its_chance() -> None:
    explorer = Explorer(random.Random(7))
    chips = [make_chip(name) for name in "abcdefg"]
    explorer.set_counts({"f": (900.0, 1000.0), "d": (1.0, 1000.0)})
    wins = dict.fromkeys("defg", 0)
    for _ in range(200):
        chosen, propensity = explorer.fill_last_slot(chips, 4)
        assert [c.id for c in chosen[:3]] == ["a", "b", "c"]
        assert chosen[3].position == 4
        assert 0 < propensity[chosen[3].id] <= 1
        wins[chosen[3].id] += 1
    assert wins["f"] > 150
    assert wins["e"] + wins["g"] > 0, "what was never shown gets its chance"
    assert wins["d"] < 10
    assert explorer.fill_last_slot(chips[:4], 4) == (chips[:4], {})


@pytest.fixture
async def redis_url(tmp_path):
    async with redis_server(tmp_path) as server:
        yield server.url


def make_cache(url: str) -> SwrCache[Draft]:
    return SwrCache(fresh_s=60, stale_s=600, store=RedisStore(url, "chips", Draft))


async def test_cache_is_shared_between_processes(redis_url: str) -> None:
    calls = 0

    async def fill(drafts: list[Draft]) -> None:
        nonlocal calls
        calls += 1
        drafts.append(Draft("막차", "막차 시간", "howto"))

    one, other = make_cache(redis_url), make_cache(redis_url)
    for each in (one, other):
        work = CachedFetch.start(each, "k", fill)
        await wait_until(lambda work=work: not work.entry.is_fetching)
        assert [d.text for d in work.items] == ["막차"]
    assert calls == 1
    assert CachedFetch.start(other, "k", fill).tier("llm") == "cache"
    await one.clear()
    again = make_cache(redis_url)
    work = CachedFetch.start(again, "k", fill)
    await wait_until(lambda: not work.entry.is_fetching)
    assert calls == 2
    for each in (one, other, again):
        await each.aclose()


async def test_without_redis_everything_goes_on() -> None:
    lonely = make_cache("redis://127.0.0.1:1/0")

    async def fill(drafts: list[Draft]) -> None:
        drafts.append(Draft("막차", "막차 시간", "howto"))

    work = CachedFetch.start(lonely, "k", fill)
    await wait_until(lambda: not work.entry.is_fetching)
    assert work.tier("llm") == "llm"
    assert work.items
    await lonely.clear()
    await lonely.aclose()


class FakeEncoder:
    """An encoder whose meanings can be seen: roses and gardens are one, trains another."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def _vector(self, text: str) -> np.ndarray:
        garden = any(word in text for word in ("rose", "정원"))
        return np.array([1.0, 0.0] if garden else [0.0, 1.0], np.float32)

    def query(self, text: str) -> np.ndarray:
        self.queries.append(text)
        return self._vector(text)

    def passage(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])


async def test_dense_retrieval_is_skipped_under_tight_budget() -> None:
    texts = ["정원 가꾸기", *(f"{i}번 기차 시간" for i in range(9))]
    index = HybridIndex([[(text, 1)] for text in texts], texts)
    assert await index.search("roses", 5) == []
    encoder = FakeEncoder()
    embedder = Embedder(encoder)
    await asyncio.to_thread(index.embed, embedder)
    assert [hit.position for hit in await index.search("roses", 5)] == [0]
    assert await index.search("rosebush", 5, within_s=0.05) == []
    await index.search("roses", 5, within_s=0.05)
    assert encoder.queries == ["roses"], "what was asked once is kept"
    embedder.close()


@pytest.mark.skipif(not _has_avx2(), reason="the engine needs AVX2")
async def test_the_shipped_encoder_knows_all_three_languages() -> None:
    encoder, why_not = load_encoder()
    assert encoder is not None, why_not
    texts = ["정원에서 장미 키우기", "地下鉄の終電"]
    texts += [f"{row.title['ko']} {row.text['ko']}" for row in shipped_links()[20:60]]
    index = HybridIndex([[(text, 1)] for text in texts], texts)
    embedder = Embedder(encoder)
    await asyncio.to_thread(index.embed, embedder)

    async def found(query: str) -> list[int]:
        # On a busy machine a vector may come too late; it is kept for the next who asks.
        while not (hits := await index.search(query, 1)):
            await asyncio.sleep(0.01)
        return [hit.position for hit in hits]

    assert await found("how to grow roses in a garden") == [0]
    assert await found("last subway train at night") == [1]
    embedder.close()


def test_a_processor_without_avx2_is_known(tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : sse2 avx avx512f\n")
    assert not _has_avx2(cpuinfo)
    assert not _has_avx2(tmp_path / "none")
