"""What is kept between requests, and for how long it may be shown."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hamlet.suggest.swr_cache import Pool


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pool(clock: Clock) -> AsyncIterator[Pool[str]]:
    made: Pool[str] = Pool(fresh_s=10, stale_s=100, clock=clock)
    yield made
    await made.aclose()


async def first(found: list[str]) -> None:
    found.append("first")


async def held(found: list[str]) -> None:
    await asyncio.Event().wait()


async def filled(pool: Pool[str]) -> None:
    task = pool.gather("key", first).task
    assert task is not None
    await task


@pytest.mark.parametrize(("age_s", "shown"), [(50, ["first"]), (101, [])], ids=["stale", "too old"])
async def test_while_the_new_is_on_its_way_what_is_stale_is_on_offer_and_what_is_older_is_not(
    pool: Pool[str], clock: Clock, age_s: float, shown: list[str]
) -> None:
    await filled(pool)
    clock.now = age_s
    pool.gather("key", held)
    batch = pool.get("key")
    assert batch is not None
    assert batch.items == shown
    assert batch.is_partial == (not shown)
    assert not pool.is_fresh(batch)
