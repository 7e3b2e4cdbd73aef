"""Try, and try again: the only module that knows tenacity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from hamlet.core.errors import ProviderError
from hamlet.gateway.hunt import Hunt
from hamlet.routing import Selection

T = TypeVar("T")
AttemptFn = Callable[[Selection], Awaitable[T]]


async def call_with_retries(hunt: Hunt, attempt: AttemptFn[T]) -> T:
    """Call `once` on the deployments that the hunt gives until one answers.

    Raises the last ProviderError when the policy, the budget, the fleet or the time is used up.
    tenacity comes into play after the first failure: a success pays nothing for it.
    """
    try:
        return await attempt(await hunt.select_next())
    except ProviderError as error:
        return await _retry(hunt, attempt, error)
    finally:
        hunt.close()


async def _retry(hunt: Hunt, attempt: AttemptFn[T], first_error: ProviderError) -> T:
    pending_error: ProviderError | None = first_error

    async def run_attempt() -> T:
        nonlocal pending_error
        if pending_error is not None:
            # The first round hands the failure we already have to tenacity, to be judged alike.
            first, pending_error = pending_error, None
            raise first
        return await attempt(await hunt.select_next())

    def wait(_: RetryCallState) -> float:
        return hunt.wait_s

    retrying = AsyncRetrying(
        retry=retry_if_exception(hunt.should_retry), wait=wait, sleep=asyncio.sleep, reraise=True
    )
    return await retrying(run_attempt)
