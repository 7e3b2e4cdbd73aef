"""Who may come in: the caller's routes and rate, and hamlet's own limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hamlet.core.errors import Busy, Draining, LimitExceeded, RouteNotFound
from hamlet.gateway.call import Caller


class TokenBucket:
    """A rate of `count` per `seconds`, with bursts up to `count`."""

    def __init__(self, count: int, seconds: float, now: float) -> None:
        self._count = float(count)
        self._per_s = count / seconds
        self._level = float(count)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; returns 0, or the seconds to wait if there is none."""
        self._level = min(self._count, self._level + (now - self._at) * self._per_s)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._per_s


class Admission:
    """Counts calls in flight and each caller's rate."""

    def __init__(self, max_in_flight: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False
        self._clock = clock
        self._buckets: dict[tuple[str, tuple[int, float]], TokenBucket] = {}

    def admit(self, caller: Caller) -> None:
        """Count one call in; pair with `leave`. Raises Draining, LimitExceeded or Busy."""
        if self.draining:
            raise Draining("this process is shutting down; try again", retry_after=1.0)
        if wait := self._rate_wait(caller):
            raise LimitExceeded(f"the rate of key {caller.name!r} is used up", retry_after=wait)
        if self.in_flight >= self.max_in_flight:
            raise Busy("hamlet has as many calls in flight as it may", retry_after=1.0)
        self.in_flight += 1

    def leave(self) -> None:
        """Count one call out."""
        self.in_flight -= 1

    @contextmanager
    def inside(self, caller: Caller) -> Iterator[None]:
        """`admit` and `leave` around a block."""
        self.admit(caller)
        try:
            yield
        finally:
            self.leave()

    def _rate_wait(self, caller: Caller) -> float:
        if caller.rate is None:
            return 0.0
        now = self._clock()
        key = (caller.name, caller.rate)
        if key not in self._buckets:
            self._buckets[key] = TokenBucket(*caller.rate, now)
        return self._buckets[key].take(now)


def check_route(caller: Caller, route: str) -> None:
    """Raise RouteNotFound if the caller may not name the route: it shall not learn of it."""
    if not caller.may_use(route):
        raise RouteNotFound(f"the model {route!r} does not exist", param="model")
