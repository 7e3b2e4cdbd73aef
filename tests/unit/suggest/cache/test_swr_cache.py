"""For how long a cache entry is served."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hamlet.suggest.cache.swr_cache import SwrCache
from support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


@pytest.fixture
async def cache(clock: ManualClock) -> AsyncIterator[SwrCache[str]]:
    made: SwrCache[str] = SwrCache(fresh_s=10, stale_s=100, clock=clock)
    yield made
    await made.aclose()


async def fetch_first(found: list[str]) -> None:
    found.append("first")


async def fetch_never(found: list[str]) -> None:
    await asyncio.Event().wait()


async def fill_cache(cache: SwrCache[str]) -> None:
    task = cache.fetch("key", fetch_first).task
    assert task is not None
    await task


@pytest.mark.parametrize(("age_s", "shown"), [(50, ["first"]), (101, [])], ids=["stale", "too old"])
async def test_stale_entry_is_served_while_revalidating(
    cache: SwrCache[str], clock: ManualClock, age_s: float, shown: list[str]
) -> None:
    await fill_cache(cache)
    clock.now = age_s
    cache.fetch("key", fetch_never)
    entry = cache.get("key")
    assert entry is not None
    assert entry.items == shown
    assert entry.is_partial == (not shown)
    assert not cache.is_fresh(entry)
