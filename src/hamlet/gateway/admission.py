"""Admission control: the caller's routes and rate, and the limit of calls in flight."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from hamlet.core.errors import Busy, Draining, LimitExceeded, RouteNotFound
from hamlet.gateway.call import Caller
from hamlet.routing.token_bucket import TokenBucket

# The last tenth of the slots is reserved for critical calls.
_SHEDDABLE_SHARE = 0.9
_MAX_QUEUE_WAIT_S, _MAX_QUEUE_WAIT_SHARE = 0.5, 0.1


class Priority(IntEnum):
    """The order in which overload sheds calls: chips first, then the main screen, then chat."""

    SHEDDABLE = 1
    SCREEN = 2
    CRITICAL = 3


class Admission:
    """Limits the calls in flight and the rate of each caller.

    `overload_level` returns the highest `Priority` to shed, 0 for none. `clock` gives monotonic
    seconds.
    """

    def __init__(
        self,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        overload_level: Callable[[], int] = lambda: 0,
    ) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False
        self.overload_level = overload_level
        self._clock = clock
        self._buckets: dict[tuple[str, tuple[int, float]], TokenBucket] = {}
        self._in_flight_by_caller: defaultdict[str, int] = defaultdict(int)
        self._queue: list[tuple[Caller, asyncio.Future[None]]] = []

    @property
    def queue_depth(self) -> int:
        """Calls that wait for a slot."""
        return len(self._queue)

    def acquire_slot_nowait(self, caller: Caller, priority: Priority = Priority.CRITICAL) -> None:
        """Take a slot; pair with `release_slot`. Raises Draining, LimitExceeded or Busy."""
        self._check_admissible(priority)
        if not self._has_free_slot(priority):
            raise _busy_error()
        self._spend_rate(caller)
        self._occupy_slot(caller)

    async def acquire_slot(self, caller: Caller, priority: Priority, call_timeout_s: float) -> None:
        """Take a slot, and wait for it up to half a second or a tenth of `call_timeout_s`.

        Raises as `acquire_slot_nowait`. A free slot goes to the caller that has the fewest for its
        weight, and to the newest call of that caller (LIFO): under overload the clients of the
        oldest calls have often given up. Sheddable calls do not wait.
        """
        self._check_admissible(priority)
        is_free = self._has_free_slot(priority)
        if not is_free and priority is Priority.SHEDDABLE:
            raise _busy_error()
        bucket = self._spend_rate(caller)
        if is_free:
            self._occupy_slot(caller)
            return
        timeout_s = min(_MAX_QUEUE_WAIT_S, _MAX_QUEUE_WAIT_SHARE * call_timeout_s)
        try:
            await self._wait_for_slot(caller, timeout_s)
        except Busy:
            if bucket is not None:
                bucket.add(-1.0, self._clock())
            raise

    def release_slot(self, caller: Caller) -> None:
        """Give a slot back, and grant it to a waiting call if there is one."""
        self.in_flight -= 1
        self._in_flight_by_caller[caller.name] -= 1
        if not self._in_flight_by_caller[caller.name]:
            del self._in_flight_by_caller[caller.name]
        if self._queue and self._has_free_slot(Priority.CRITICAL):
            self._admit_next_waiter()

    @contextmanager
    def hold_slot(self, caller: Caller, priority: Priority = Priority.CRITICAL) -> Iterator[None]:
        """A slot for the length of the block. Raises as `acquire_slot_nowait`."""
        self.acquire_slot_nowait(caller, priority)
        try:
            yield
        finally:
            self.release_slot(caller)

    def _check_admissible(self, priority: Priority) -> None:
        if self.draining:
            raise Draining("this process is shutting down; try again", retry_after=1.0)
        if priority <= self.overload_level():
            raise Busy("hamlet is overloaded and sheds this kind of call", retry_after=1.0)

    def _has_free_slot(self, priority: Priority) -> bool:
        share = _SHEDDABLE_SHARE if priority is Priority.SHEDDABLE else 1.0
        return self.in_flight < share * self.max_in_flight

    def _occupy_slot(self, caller: Caller) -> None:
        self.in_flight += 1
        self._in_flight_by_caller[caller.name] += 1

    async def _wait_for_slot(self, caller: Caller, timeout_s: float) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (caller, granted)
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await granted
        except TimeoutError:
            if not granted.done() or granted.cancelled():
                raise _busy_error() from None
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release_slot(caller)
            raise
        finally:
            if waiter in self._queue:
                self._queue.remove(waiter)

    def _admit_next_waiter(self) -> None:
        caller, granted = min(
            reversed(self._queue),
            key=lambda row: self._in_flight_by_caller.get(row[0].name, 0) / row[0].weight,
        )
        self._queue.remove((caller, granted))
        self._occupy_slot(caller)
        granted.set_result(None)

    def _spend_rate(self, caller: Caller) -> TokenBucket | None:
        """Take one call of the caller's rate, which a refusal gives back. Raises LimitExceeded."""
        if caller.rate is None:
            return None
        now, key = self._clock(), (caller.name, caller.rate)
        bucket = self._buckets.get(key)
        if bucket is None:
            count, period_s = caller.rate
            bucket = self._buckets[key] = TokenBucket(count / period_s, count, now)
        if wait_s := bucket.try_acquire(now):
            raise LimitExceeded(f"the rate of key {caller.name!r} is used up", retry_after=wait_s)
        return bucket


def _busy_error() -> Busy:
    return Busy("hamlet has as many calls in flight as it may", retry_after=1.0)


def require_route_access(caller: Caller, route: str) -> None:
    """Raise RouteNotFound if the caller may not use the route, as if there were no such route."""
    if not caller.can_use_route(route):
        raise RouteNotFound(f"the model {route!r} does not exist", param="model")
