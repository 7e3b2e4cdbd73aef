"""One timer over many waits."""

import asyncio

import pytest

from hamlet.core.errors import UpstreamTimeout
from hamlet.spi import Deadline, IdleTimeout


async def test_a_wait_that_begins_after_the_end_is_refused() -> None:
    watchdog = IdleTimeout(1.0, 0.0)
    with pytest.raises(UpstreamTimeout, match="too long"):
        async with watchdog:
            pass
    watchdog.stop()


async def test_timer_is_idle_without_waiters() -> None:
    watchdog = IdleTimeout(0.02, 10.0)
    await asyncio.sleep(0.06)
    with pytest.raises(UpstreamTimeout, match="silent"):
        async with watchdog:
            await asyncio.sleep(1.0)
    watchdog.stop()


async def test_a_long_chain_of_short_waits_is_fine() -> None:
    watchdog = IdleTimeout(0.3, 10.0)
    waits = 0
    for _ in range(5):
        async with watchdog:
            await asyncio.sleep(0.1)
        watchdog.reset()
        waits += 1
    watchdog.stop()
    assert waits == 5, "together they were longer than one wait may be"


async def test_external_cancellation_takes_precedence_over_idle_timeout() -> None:
    async def wait() -> None:
        watchdog = IdleTimeout(0.02, 10.0)
        try:
            async with watchdog:
                try:
                    await asyncio.sleep(1.0)
                except asyncio.CancelledError:
                    asyncio.current_task().cancel()
                    raise
        finally:
            watchdog.stop()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(wait())


async def test_a_deadline_ends_a_wait_that_lasts_too_long() -> None:
    with pytest.raises(TimeoutError):
        with Deadline(0.01) as limit:
            await asyncio.Event().wait()
    assert limit.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "nothing of it is left in the task"


async def test_what_comes_in_time_meets_no_deadline() -> None:
    with Deadline(60) as limit:
        await asyncio.sleep(0)
    assert not limit.expired
    with pytest.raises(KeyError), Deadline(60):
        raise KeyError


async def test_external_cancellation_takes_precedence_over_deadline() -> None:
    began = asyncio.Event()

    async def work() -> None:
        with Deadline(0.02):
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # The other cancels just as the deadline does.
                task.cancel()
                raise

    task = asyncio.create_task(work())
    await began.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
