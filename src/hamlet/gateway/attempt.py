"""Try, and try again: the only module that knows tenacity."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from hamlet.config import Policy
from hamlet.core.errors import ProviderError
from hamlet.registry.model import Deployment

T = TypeVar("T")
Once = Callable[[Deployment], Awaitable[T]]

_OTHER_JITTER_S = 0.05


class _Pursuit:
    """Turns the verdict of each error into the next move: where to, and after which wait."""

    def __init__(
        self, plan: Sequence[Deployment], policy: Policy, remaining: Callable[[], float]
    ) -> None:
        self._untried = list(plan)
        self._policy = policy
        self._remaining = remaining
        self._attempts = 0
        self._here = self._untried.pop(0)
        self._repeats = 0
        self._wait = 0.0

    @property
    def here(self) -> Deployment:
        """The deployment to ask now."""
        return self._here

    def may_go_on(self, error: BaseException) -> bool:
        """Decide the next move; False when the error is to be surfaced."""
        self._attempts += 1
        if not isinstance(error, ProviderError) or self._attempts >= self._policy.attempts:
            return False
        same_first = self._policy.retry_first == "same" and self._repeats == 0
        moved = (
            (same_first and self._repeat(error))
            or self._move_on(error)
            or (not same_first and self._repeat(error))
        )
        return moved and self._wait < self._remaining()

    def wait(self, _: RetryCallState) -> float:
        """Seconds before the next move."""
        return self._wait

    def _move_on(self, error: ProviderError) -> bool:
        if not (error.try_other and self._policy.failover and self._untried):
            return False
        self._here = self._untried.pop(0)
        self._repeats = 0
        self._wait = random.uniform(0, _OTHER_JITTER_S)
        return True

    def _repeat(self, error: ProviderError) -> bool:
        if not error.repeatable:
            return False
        ceiling = self._policy.backoff_base_s * 2**self._repeats
        wait = error.retry_after or random.uniform(0, ceiling)
        if wait > self._policy.backoff_max_s:
            return False
        self._repeats += 1
        self._wait = wait
        return True


async def pursue(
    plan: Sequence[Deployment], once: Once[T], policy: Policy, remaining: Callable[[], float]
) -> T:
    """Call `once` on the deployments of the plan until one answers.

    Raises the last ProviderError when the policy, the plan or the `remaining` time (seconds) is
    used up. tenacity comes into play after the first failure: a success pays nothing for it.
    """
    try:
        return await once(plan[0])
    except ProviderError as error:
        failure: ProviderError | None = error
    pursuit = _Pursuit(plan, policy, remaining)

    async def step() -> T:
        nonlocal failure
        if failure is not None:
            # The first round hands the failure we already have to tenacity, to be judged alike.
            first, failure = failure, None
            raise first
        return await once(pursuit.here)

    retrying = AsyncRetrying(
        retry=retry_if_exception(pursuit.may_go_on),
        wait=pursuit.wait,
        sleep=asyncio.sleep,
        reraise=True,
    )
    return await retrying(step)
