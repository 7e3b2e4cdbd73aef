"""The parts of the main screen that have a memory: breaker, shared cache, explorer, vectors."""

import asyncio
import gc
import random
import shutil
import socket
from dataclasses import replace

import numpy as np
import pytest

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError
from hamlet.suggest import Draft, Explorer, Pool, RedisStore, WebSearch
from hamlet.suggest.cached_fetch import Work
from hamlet.suggest.content import shipped_links
from hamlet.suggest.model import Chip
from hamlet.suggest.retrieval import Embedder, HybridIndex, load_encoder
from hamlet.suggest.retrieval.dense import _has_avx2
from support.server import until

QUERY = LinkQuery("서울", "ko", 5)
LINK = FoundLink("https://example.org/", "t", "s", "other", "en", 1.0, "x")


class Source:
    def __init__(self, finds: list[FoundLink] | None = None) -> None:
        self.trouble: Exception | None = None
        self.asked = 0
        self.finds = [LINK] if finds is None else finds
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def search(self, query: LinkQuery) -> list[FoundLink]:
        self.asked += 1
        await self.may_answer.wait()
        if self.trouble:
            raise self.trouble
        return self.finds


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def asked(web: WebSearch) -> bool:
    found: list[FoundLink] = []
    try:
        await web.search(QUERY, found)
    except SourceError:
        return False
    return found == [LINK]


async def test_a_source_in_trouble_is_left_alone_and_the_next_one_answers() -> None:
    clock, bad, good = Clock(), Source(), Source()
    bad.trouble = SourceError("down")
    web = WebSearch(lambda: {"bad": bad, "good": good}, clock)
    for _ in range(5):
        assert await asked(web)
    assert (bad.asked, good.asked) == (3, 5)
    assert web.status()["bad"]["state"] == "open"
    clock.now += 16
    bad.trouble = None
    assert await asked(web)
    assert (bad.asked, good.asked, web.status()["bad"]["state"]) == (4, 5, "closed")


async def test_a_source_that_says_how_long_is_asked_again_only_then() -> None:
    clock, source = Clock(), Source()
    source.trouble = SourceError("429", 30.0)
    web = WebSearch(lambda: {"one": source}, clock)
    assert not await asked(web)
    source.trouble = None
    clock.now += 29
    assert not await asked(web)
    clock.now += 2
    assert await asked(web)
    assert source.asked == 2


OTHER = replace(LINK, url="https://example.com/")


def slow(source: Source) -> Source:
    source.may_answer.clear()
    return source


def race(hedge_after_s: float | None, **sources: Source) -> tuple[WebSearch, asyncio.Task]:
    """A search that has begun, and asked whom it asks at once."""
    web = WebSearch(lambda: sources, hedge_after_s=hedge_after_s)
    found: list[FoundLink] = []

    async def search() -> list[FoundLink]:
        await web.search(QUERY, found)
        return found

    return web, asyncio.create_task(search())


async def test_without_a_hedge_a_slow_source_is_waited_for_alone() -> None:
    first, second = slow(Source()), Source([OTHER])
    _, task = race(None, first=first, second=second)
    await until(lambda: first.asked == 1)
    first.may_answer.set()
    assert await task == [LINK]
    assert second.asked == 0


@pytest.mark.parametrize("after_s", [0.0, 0.02])
async def test_a_hedge_has_the_next_source_answer_for_a_slow_one(after_s: float) -> None:
    first, second, third = slow(Source()), Source([OTHER]), Source()
    web, task = race(after_s, first=first, second=second, third=third)
    assert await task == [OTHER]
    assert (first.asked, second.asked, third.asked) == (1, 1, 0), "never more than two"
    first.may_answer.set()
    await until(lambda: web.status()["first"]["answered"] == 1)


async def test_a_source_that_answers_in_time_is_not_hedged() -> None:
    first, second = Source(), Source([OTHER])
    _, task = race(30.0, first=first, second=second)
    assert await task == [LINK]
    assert second.asked == 0


async def test_a_hedge_that_fails_or_finds_nothing_leaves_it_to_the_slow_one() -> None:
    for second, asked in ((Source([]), 0), (Source(), 1)):
        first, third = slow(Source()), slow(Source())
        second.trouble = SourceError("down") if second.finds else None
        web, task = race(0.0, first=first, second=second, third=third)
        await until(lambda second=second: second.asked == 1)
        await until(lambda third=third, asked=asked: third.asked == asked)
        first.may_answer.set()
        assert await task == [LINK]
        await web.aclose()


@pytest.mark.parametrize("hedge_after_s", [None, 0.0])
async def test_a_sources_own_mistake_costs_no_other_its_answer(hedge_after_s) -> None:
    broken, good = Source(), slow(Source([OTHER]))
    broken.trouble = KeyError("title")
    web, task = race(hedge_after_s, broken=broken, good=good)
    await until(lambda: good.asked == 1 and web.status()["broken"]["failed"] == 1)
    good.may_answer.set()
    assert await task == [OTHER]


async def test_nothing_found_is_an_answer_where_the_other_fails() -> None:
    first, second = slow(Source()), Source([])
    first.trouble = SourceError("down")
    _, task = race(0.0, first=first, second=second, third=Source())
    await until(lambda: second.asked == 1)
    first.may_answer.set()
    assert await task == []


async def test_a_loser_that_fails_late_opens_its_breaker_and_disturbs_nobody(caplog) -> None:
    first = slow(Source())
    first.trouble = SourceError("429", 30.0)
    web, task = race(0.0, first=first, second=Source())
    assert await task == [LINK]
    first.may_answer.set()
    await until(lambda: web.status()["first"]["state"] == "open")
    await web.aclose()
    gc.collect()
    assert not caplog.records, "an exception that nobody took would be told"


async def test_closing_calls_off_who_is_still_asked() -> None:
    first = slow(Source())
    web, task = race(0.0, first=first, second=Source())
    assert await task == [LINK]
    before = len(asyncio.all_tasks())
    await web.aclose()
    assert len(asyncio.all_tasks()) == before - 1


def chip(name: str) -> Chip:
    return Chip(name, name, name, "fill", "howto", "spark", "ko", 1)


def test_the_explorer_moves_only_the_last_slot_and_tells_its_chance() -> None:
    explorer = Explorer(random.Random(7))
    chips = [chip(name) for name in "abcdefg"]
    explorer.learn({"f": (900.0, 1000.0), "d": (1.0, 1000.0)})
    wins = dict.fromkeys("defg", 0)
    for _ in range(200):
        chosen, propensity = explorer.last_slot(chips, 4)
        assert [c.id for c in chosen[:3]] == ["a", "b", "c"]
        assert chosen[3].position == 4
        assert 0 < propensity[chosen[3].id] <= 1
        wins[chosen[3].id] += 1
    assert wins["f"] > 150
    assert wins["e"] + wins["g"] > 0, "what was never shown gets its chance"
    assert wins["d"] < 10
    assert explorer.last_slot(chips[:4], 4) == (chips[:4], {})


@pytest.fixture
async def redis_url(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    while b"Ready to accept connections" not in await process.stdout.readline():
        pass
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    await process.communicate()


def pool(url: str) -> Pool[Draft]:
    return Pool(fresh_s=60, stale_s=600, store=RedisStore(url, "chips", Draft))


async def test_what_one_process_gathered_another_need_not(redis_url: str) -> None:
    calls = 0

    async def fill(drafts: list[Draft]) -> None:
        nonlocal calls
        calls += 1
        drafts.append(Draft("막차", "막차 시간", "howto"))

    one, other = pool(redis_url), pool(redis_url)
    for each in (one, other):
        work = Work.of(each, "k", fill)
        await until(lambda work=work: not work.batch.running)
        assert [d.text for d in work.usable] == ["막차"]
    assert calls == 1
    assert Work.of(other, "k", fill).tier("llm") == "cache"
    await one.clear()
    again = pool(redis_url)
    work = Work.of(again, "k", fill)
    await until(lambda: not work.batch.running)
    assert calls == 2
    for each in (one, other, again):
        await each.aclose()


async def test_without_redis_everything_goes_on() -> None:
    lonely = pool("redis://127.0.0.1:1/0")

    async def fill(drafts: list[Draft]) -> None:
        drafts.append(Draft("막차", "막차 시간", "howto"))

    work = Work.of(lonely, "k", fill)
    await until(lambda: not work.batch.running)
    assert work.tier("llm") == "llm"
    assert work.usable
    await lonely.clear()
    await lonely.aclose()


class OneAxisEach:
    """An encoder whose meanings can be seen: roses and gardens are one, trains another."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _vector(self, text: str) -> np.ndarray:
        garden = any(word in text for word in ("rose", "정원"))
        return np.array([1.0, 0.0] if garden else [0.0, 1.0], np.float32)

    def query(self, text: str) -> np.ndarray:
        self.asked.append(text)
        return self._vector(text)

    def passage(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])


async def test_meaning_finds_what_no_word_does_and_is_skipped_in_a_hurry() -> None:
    texts = ["정원 가꾸기", *(f"{i}번 기차 시간" for i in range(9))]
    index = HybridIndex([[(text, 1)] for text in texts], texts)
    assert await index.search("roses", 5) == []
    encoder = OneAxisEach()
    embedder = Embedder(encoder)
    await asyncio.to_thread(index.embed, embedder)
    assert [hit.position for hit in await index.search("roses", 5)] == [0]
    assert await index.search("rosebush", 5, within_s=0.05) == []
    await index.search("roses", 5, within_s=0.05)
    assert encoder.asked == ["roses"], "what was asked once is kept"
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
