"""Who may come in: the caller's routes and rate, and hamlet's own limit, shared fairly."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

from hamlet.core.errors import Busy, Draining, LimitExceeded, RouteNotFound
from hamlet.gateway.call import Caller

# The last tenth of the places is for what must not be shed.
_SHEDDABLE_SHARE = 0.9
_PATIENCE_S, _PATIENCE_SHARE = 0.5, 0.1


class Importance(IntEnum):
    """In this order calls are shed in distress: chips, the main screen, chat."""

    SHEDDABLE = 1
    SCREEN = 2
    CRITICAL = 3


class TokenBucket:
    """A rate of `count` per `seconds`, with bursts up to `count`."""

    def __init__(self, count: int, seconds: float, now: float) -> None:
        self._count = float(count)
        self._per_s = count / seconds
        self._level = float(count)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; returns 0, or the seconds to wait if there is none."""
        level = self._level + (now - self._at) * self._per_s
        self._level = level if level < self._count else self._count
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._per_s


class Admission:
    """Counts calls in flight and each caller's rate.

    `distress` tells how much is to be shed: calls up to that importance, 0 for none.
    """

    def __init__(
        self,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
        distress: Callable[[], int] = lambda: 0,
    ) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False
        self.distress = distress
        self._clock = clock
        self._buckets: dict[tuple[str, tuple[int, float]], TokenBucket] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        self._queue: list[tuple[Caller, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._queue)

    def admit(self, caller: Caller, importance: Importance = Importance.CRITICAL) -> None:
        """Count one call in; pair with `leave`. Raises Draining, LimitExceeded or Busy."""
        self._check(caller, importance)
        if not self._has_room(importance):
            raise _busy()
        self._take(caller)

    async def enter(self, caller: Caller, importance: Importance, total_s: float) -> None:
        """`admit`, but wait a little for a place: half a second, or a tenth of the deadline.

        A place that gets free goes to the caller who holds the fewest for its weight, and there to
        its newest call: under overload the oldest are those whose clients have given up.
        """
        self._check(caller, importance)
        if self._has_room(importance):
            self._take(caller)
            return
        if importance is Importance.SHEDDABLE:
            raise _busy()
        await self._wait(caller, min(_PATIENCE_S, _PATIENCE_SHARE * total_s))

    def leave(self, caller: Caller) -> None:
        """Count one call out, and let the next in."""
        self.in_flight -= 1
        self._held[caller.name] -= 1
        if not self._held[caller.name]:
            del self._held[caller.name]
        if self._queue and self._has_room(Importance.CRITICAL):
            self._let_in_next()

    @contextmanager
    def inside(
        self, caller: Caller, importance: Importance = Importance.CRITICAL
    ) -> Iterator[None]:
        """`admit` and `leave` around a block."""
        self.admit(caller, importance)
        try:
            yield
        finally:
            self.leave(caller)

    def _check(self, caller: Caller, importance: Importance) -> None:
        if self.draining:
            raise Draining("this process is shutting down; try again", retry_after=1.0)
        if wait := self._rate_wait(caller):
            raise LimitExceeded(f"the rate of key {caller.name!r} is used up", retry_after=wait)
        if importance <= self.distress():
            raise Busy("hamlet is overloaded and sheds this kind of call", retry_after=1.0)

    def _has_room(self, importance: Importance) -> bool:
        share = _SHEDDABLE_SHARE if importance is Importance.SHEDDABLE else 1.0
        return self.in_flight < share * self.max_in_flight

    def _take(self, caller: Caller) -> None:
        self.in_flight += 1
        self._held[caller.name] += 1

    async def _wait(self, caller: Caller, seconds: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (caller, place)
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await place
        except TimeoutError:
            if not place.done() or place.cancelled():
                raise _busy() from None
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(caller)
            raise
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)

    def _let_in_next(self) -> None:
        caller, place = min(
            reversed(self._queue), key=lambda row: self._held.get(row[0].name, 0) / row[0].weight
        )
        self._queue.remove((caller, place))
        self._take(caller)
        place.set_result(None)

    def _rate_wait(self, caller: Caller) -> float:
        if caller.rate is None:
            return 0.0
        now, key = self._clock(), (caller.name, caller.rate)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(*caller.rate, now)
        return bucket.take(now)


def _busy() -> Busy:
    return Busy("hamlet has as many calls in flight as it may", retry_after=1.0)


def check_route(caller: Caller, route: str) -> None:
    """Raise RouteNotFound if the caller may not name the route: it shall not learn of it."""
    if not caller.may_use(route):
        raise RouteNotFound(f"the model {route!r} does not exist", param="model")
