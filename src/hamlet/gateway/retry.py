"""Try, and try again: the only module that knows tenacity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from hamlet.core.errors import ProviderError
from hamlet.gateway.hunt import Hunt
from hamlet.routing import Choice

T = TypeVar("T")
Once = Callable[[Choice], Awaitable[T]]


async def pursue(hunt: Hunt, once: Once[T]) -> T:
    """Call `once` on the deployments that the hunt gives until one answers.

    Raises the last ProviderError when the policy, the budget, the fleet or the time is used up.
    tenacity comes into play after the first failure: a success pays nothing for it.
    """
    try:
        return await once(await hunt.next())
    except ProviderError as error:
        return await _retry(hunt, once, error)
    finally:
        hunt.close()


async def _retry(hunt: Hunt, once: Once[T], failed: ProviderError) -> T:
    failure: ProviderError | None = failed

    async def step() -> T:
        nonlocal failure
        if failure is not None:
            # The first round hands the failure we already have to tenacity, to be judged alike.
            first, failure = failure, None
            raise first
        return await once(await hunt.next())

    def wait(_: RetryCallState) -> float:
        return hunt.wait_s

    retrying = AsyncRetrying(
        retry=retry_if_exception(hunt.may_go_on), wait=wait, sleep=asyncio.sleep, reraise=True
    )
    return await retrying(step)
