"""What is kept between requests, and for how long it may be shown."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hamlet.suggest.pool import Pool


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


async def test_what_is_stale_is_on_offer_while_the_new_is_on_its_way(
    pool: Pool[str], clock: Clock
) -> None:
    await filled(pool)
    clock.now = 50
    pool.gather("key", held)
    batch = pool.get("key")
    assert batch is not None
    assert batch.items == ["first"]
    assert not pool.is_fresh(batch)


async def test_what_is_too_old_to_be_stale_is_not_on_offer_even_then(
    pool: Pool[str], clock: Clock
) -> None:
    await filled(pool)
    clock.now = 101
    pool.gather("key", held)
    batch = pool.get("key")
    assert batch is not None
    assert batch.items == []
    assert batch.is_partial
