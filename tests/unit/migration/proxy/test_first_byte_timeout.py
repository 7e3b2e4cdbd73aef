"""The timeout for the first byte: one timer for all, and its cancellation is told from others."""

import asyncio

import pytest

from hamlet.migration.proxy.first_byte_timeout import FirstByteTimeouts


async def wait_under(timeouts: FirstByteTimeouts, seconds: float) -> bool:
    """Whether the timeout expired before `seconds` had passed."""
    timeout = timeouts.start_timer()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not timeout.consume_cancellation():
            raise
        return True
    finally:
        timeout.cancel()
    return False


async def test_only_slow_tasks_expire() -> None:
    timeouts = FirstByteTimeouts(0.05)
    expired = await asyncio.gather(*(wait_under(timeouts, s) for s in (0.0, 5.0, 0.01, 5.0)))
    assert expired == [False, True, False, True]
    assert not timeouts.deadlines


async def test_timer_restarts_after_it_has_run_dry() -> None:
    timeouts = FirstByteTimeouts(0.02)
    assert await wait_under(timeouts, 5.0)
    assert await wait_under(timeouts, 5.0)


async def test_foreign_cancellation_is_not_consumed() -> None:
    task = asyncio.create_task(wait_under(FirstByteTimeouts(60.0), 60.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
