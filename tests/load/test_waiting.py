"""Waiting with a deadline, and the one rule for quantiles."""

import asyncio

import pytest

from loadtest.engine.quantiles import p50_p99, quantile, sorted_quantile
from loadtest.engine.waiting import wait_until


async def test_wait_until_takes_plain_conditions_and_coroutine_functions() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, done.set)

    async def is_done() -> bool:
        return done.is_set()

    assert await wait_until(is_done, interval_s=0.001) >= 0.01
    assert await wait_until(done.is_set) < 1.0


async def test_wait_until_raises_at_its_deadline() -> None:
    async def is_never() -> bool:
        return False

    for predicate in (lambda: False, is_never):
        with pytest.raises(TimeoutError):
            await wait_until(predicate, 0.02)


@pytest.mark.parametrize(
    ("count", "q", "rank"),
    [(100, 0.99, 99), (101, 0.99, 100), (1, 0.5, 1), (4, 0.5, 2), (4, 0.0, 1), (4, 1.0, 4)],
)
def test_quantile_is_the_nearest_rank(count: int, q: float, rank: int) -> None:
    values = list(range(1, count + 1))
    assert sorted_quantile(values, q) == quantile(values[::-1], q) == rank


def test_percentiles_leave_out_nan_and_need_a_value() -> None:
    assert p50_p99([3.0, float("nan"), 1.0, 2.0]) == (2.0, 3.0)
    with pytest.raises(ValueError, match="no values"):
        p50_p99([float("nan")])
