"""The timeout for the first byte cancels its own task, and its cancellation is distinguished from others."""

import asyncio

import pytest

from hamlet.migration.proxy.first_byte_timeout import FirstByteTimeout


async def expires_within(timeout_s: float, seconds: float) -> bool:
    """Whether the timeout expires before `seconds` have passed."""
    timeout = FirstByteTimeout(timeout_s)
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
    waits_s = (0.0, 5.0, 0.01, 5.0)
    expired = await asyncio.gather(*(expires_within(0.1, wait_s) for wait_s in waits_s))
    assert expired == [False, True, False, True]


async def test_foreign_cancellation_is_not_consumed() -> None:
    task = asyncio.create_task(expires_within(60.0, 60.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
