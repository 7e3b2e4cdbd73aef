"""The guard of an upstream: circuit breaker and concurrency limit."""

import asyncio

import pytest

from hamlet.spi.sources import SourceError
from hamlet.suggest.upstream_guard import UpstreamGuard
from support.clock import ManualClock


async def succeed() -> str:
    return "result"


async def fail() -> str:
    raise SourceError("down")


async def fail_with_retry_after() -> str:
    raise SourceError("429", 3600.0)


async def hang() -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def run_failing(guard: UpstreamGuard, call=fail) -> None:
    assert guard.try_acquire()
    with pytest.raises(SourceError):
        await guard.run(call)


async def test_third_failure_opens_and_a_probe_closes() -> None:
    clock = ManualClock()
    guard = UpstreamGuard(clock)
    for _ in range(3):
        assert guard.state == "closed"
        await run_failing(guard)
    assert guard.state == "open"
    assert not guard.try_acquire()
    assert (guard.consecutive_failures, guard.total_failures) == (3, 3)
    clock.now += 20
    assert guard.try_acquire()
    assert not guard.try_acquire(), "one probe at a time"
    assert await guard.run(succeed) == "result"
    assert (guard.state, guard.consecutive_failures, guard.total_successes) == ("closed", 0, 1)
    assert guard.try_acquire()


async def test_retry_after_is_honored_up_to_five_minutes() -> None:
    clock = ManualClock()
    guard = UpstreamGuard(clock)
    await run_failing(guard, fail_with_retry_after)
    clock.now += 299
    assert not guard.try_acquire()
    clock.now += 2
    assert guard.try_acquire()


async def test_cancelled_probe_allows_another() -> None:
    clock = ManualClock()
    guard = UpstreamGuard(clock)
    for _ in range(3):
        await run_failing(guard)
    clock.now += 20
    assert guard.try_acquire()
    probe = asyncio.create_task(guard.run(hang))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    clock.now += 2
    assert guard.try_acquire()


async def test_calls_in_flight_are_limited() -> None:
    guard = UpstreamGuard()
    tasks = []
    while guard.try_acquire():
        tasks.append(asyncio.create_task(guard.run(hang)))
    assert len(tasks) == 16
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert guard.try_acquire()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
