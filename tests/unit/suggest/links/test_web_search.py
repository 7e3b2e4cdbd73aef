"""Searching several sources: failover, hedging and circuit breakers."""

import asyncio
import gc
from dataclasses import replace

import pytest

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError
from hamlet.suggest import WebSearch
from support.clock import ManualClock
from support.server import wait_until

QUERY = LinkQuery("서울", "ko", 5)
LINK = FoundLink("https://example.org/", "t", "s", "other", "en", 1.0, "x")


class FakeSource:
    def __init__(self, results: list[FoundLink] | None = None) -> None:
        self.error: Exception | None = None
        self.call_count = 0
        self.results = [LINK] if results is None else results
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


async def test_failing_source_is_skipped_until_its_breaker_half_opens() -> None:
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


async def test_retry_after_keeps_breaker_open() -> None:
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
    """Start a search of the sources in a task."""
    web = WebSearch(lambda: sources, hedge_after_s=hedge_after_s)
    found: list[FoundLink] = []

    async def search() -> list[FoundLink]:
        await web.search(QUERY, found)
        return found

    return web, asyncio.create_task(search())


async def test_slow_source_is_awaited_without_hedging() -> None:
    first, second = block_source(FakeSource()), FakeSource([OTHER])
    _, task = start_search(None, first=first, second=second)
    await wait_until(lambda: first.call_count == 1)
    first.release.set()
    assert await task == [LINK]
    assert second.call_count == 0


@pytest.mark.parametrize("after_s", [0.0, 0.02])
async def test_hedge_replaces_slow_source(after_s: float) -> None:
    first, second, third = block_source(FakeSource()), FakeSource([OTHER]), FakeSource()
    web, task = start_search(after_s, first=first, second=second, third=third)
    assert await task == [OTHER]
    assert (first.call_count, second.call_count, third.call_count) == (1, 1, 0), (
        "at most two searches run at once"
    )
    first.release.set()
    await wait_until(lambda: web.status()["first"]["answered"] == 1)


async def test_fast_source_is_not_hedged() -> None:
    first, second = FakeSource(), FakeSource([OTHER])
    _, task = start_search(30.0, first=first, second=second)
    assert await task == [LINK]
    assert second.call_count == 0


async def test_failed_or_empty_hedge_waits_for_slow_source() -> None:
    for second, third_calls in ((FakeSource([]), 0), (FakeSource(), 1)):
        first, third = block_source(FakeSource()), block_source(FakeSource())
        second.error = SourceError("down") if second.results else None
        web, task = start_search(0.0, first=first, second=second, third=third)
        await wait_until(lambda second=second: second.call_count == 1)
        await wait_until(lambda third=third, calls=third_calls: third.call_count == calls)
        first.release.set()
        assert await task == [LINK]
        await web.aclose()


@pytest.mark.parametrize("hedge_after_s", [None, 0.0])
async def test_unexpected_exception_fails_over(hedge_after_s) -> None:
    broken, good = FakeSource(), block_source(FakeSource([OTHER]))
    broken.error = KeyError("title")
    web, task = start_search(hedge_after_s, broken=broken, good=good)
    await wait_until(lambda: good.call_count == 1 and web.status()["broken"]["failed"] == 1)
    good.release.set()
    assert await task == [OTHER]


async def test_empty_result_outweighs_failure() -> None:
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
    assert not caplog.records, "an exception that is never retrieved would be logged"


async def test_close_cancels_pending_searches() -> None:
    first = block_source(FakeSource())
    web, task = start_search(0.0, first=first, second=FakeSource())
    assert await task == [LINK]
    before = len(asyncio.all_tasks())
    await web.aclose()
    assert len(asyncio.all_tasks()) == before - 1
