"""The retry loop: the only module that imports tenacity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from hamlet.core.errors import ProviderError
from hamlet.gateway.retry_state import RetryState
from hamlet.routing import Selection

T = TypeVar("T")
AttemptFn = Callable[[Selection], Awaitable[T]]


async def call_with_retries(retry_state: RetryState, attempt: AttemptFn[T]) -> T:
    """Select a deployment and attempt the call there, until an attempt succeeds.

    Raises the last ProviderError when the route's policy, its retry budget, its deployments or the
    time is used up. tenacity is involved only after a first failure: a success pays nothing for it
    (docs/adr/0003).
    """
    try:
        return await attempt(await retry_state.selector.select_next())
    except ProviderError as error:
        return await _retry(retry_state, attempt, error)
    finally:
        retry_state.close()


async def _retry(retry_state: RetryState, attempt: AttemptFn[T], first_error: ProviderError) -> T:
    pending_error: ProviderError | None = first_error

    async def run_attempt() -> T:
        nonlocal pending_error
        if pending_error is not None:
            # The first round raises the failure that is already known, so that tenacity applies
            # the policy to it as to any later one.
            first, pending_error = pending_error, None
            raise first
        return await attempt(await retry_state.selector.select_next())

    return await RetryPolicy(retry_state).retrying()(run_attempt)


class RetryPolicy:
    """The route's policy as tenacity's three strategies, for one call.

    `retry` decides whether another attempt may succeed, and where (`failover`, `retry_first` and
    `content_filter` of the policy); `wait` how long to wait before it (`backoff_base_s`,
    `backoff_max_s` and the upstream's Retry-After); `stop` whether the call must end instead
    (`attempts`, `total_s`, `retry_budget`).
    """

    def __init__(self, state: RetryState) -> None:
        self.retry: retry_base = retry_if_exception(state.can_retry)
        self.wait: wait_base = _WaitForBackoff(state)
        self.stop: stop_base = _StopAtLimits(state)

    def retrying(self) -> AsyncRetrying:
        """The loop that follows this policy and raises the last failure."""
        return AsyncRetrying(
            retry=self.retry, wait=self.wait, stop=self.stop, sleep=asyncio.sleep, reraise=True
        )


class _WaitForBackoff(wait_base):
    def __init__(self, state: RetryState) -> None:
        self._state = state

    def __call__(self, retry_state: RetryCallState) -> float:
        return self._state.wait_s()


class _StopAtLimits(stop_base):
    def __init__(self, state: RetryState) -> None:
        self._state = state

    def __call__(self, retry_state: RetryCallState) -> bool:
        return self._state.has_reached_limit(retry_state.upcoming_sleep)
