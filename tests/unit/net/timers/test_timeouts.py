"""Timeouts of a waiting task: over many waits, and of a single one."""

import asyncio

import pytest

from hamlet.core.errors import UpstreamTimeout
from hamlet.spi import Deadline, IdleTimeout


async def test_wait_after_total_timeout_is_refused() -> None:
    idle_timeout = IdleTimeout(1.0, 0.0)
    with pytest.raises(UpstreamTimeout, match="too long"):
        async with idle_timeout:
            pass
    idle_timeout.stop()


async def test_timeout_does_not_run_without_waiters() -> None:
    idle_timeout = IdleTimeout(0.02, 10.0)
    await asyncio.sleep(0.06)
    with pytest.raises(UpstreamTimeout, match="silent"):
        async with idle_timeout:
            await asyncio.sleep(1.0)
    idle_timeout.stop()


async def test_reset_restarts_idle_timeout() -> None:
    idle_timeout = IdleTimeout(0.3, 10.0)
    waits = 0
    for _ in range(5):
        async with idle_timeout:
            await asyncio.sleep(0.1)
        idle_timeout.reset()
        waits += 1
    idle_timeout.stop()
    assert waits == 5, "together the waits were longer than one may be"


async def test_external_cancellation_takes_precedence_over_idle_timeout() -> None:
    async def wait() -> None:
        idle_timeout = IdleTimeout(0.02, 10.0)
        try:
            async with idle_timeout:
                try:
                    await asyncio.sleep(1.0)
                except asyncio.CancelledError:
                    asyncio.current_task().cancel()
                    raise
        finally:
            idle_timeout.stop()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(wait())


async def test_deadline_ends_long_wait() -> None:
    with pytest.raises(TimeoutError):
        with Deadline(0.01) as deadline:
            await asyncio.Event().wait()
    assert deadline.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "its cancellation was taken back"


async def test_deadline_does_not_affect_short_wait() -> None:
    with Deadline(60) as deadline:
        await asyncio.sleep(0)
    assert not deadline.expired
    with pytest.raises(KeyError), Deadline(60):
        raise KeyError


async def test_external_cancellation_takes_precedence_over_deadline() -> None:
    started = asyncio.Event()

    async def work() -> None:
        with Deadline(0.02):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # Somebody else cancels at the same moment as the deadline.
                task.cancel()
                raise

    task = asyncio.create_task(work())
    await started.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
