"""What protects the main screen from a slow or failing web source or model route."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from hamlet.routing.circuit_breaker import CircuitBreaker
from hamlet.spi.sources import SourceError

T = TypeVar("T")
_MAX_CONCURRENT_CALLS = 16
_MAX_RETRY_AFTER_S = 300.0


class UpstreamGuard:
    """A circuit breaker and a concurrency limit (bulkhead) for one upstream.

    Every exception counts as a failure of the upstream, a timeout included: the screen's deadlines
    are short, and an upstream that never meets them need not be called by every request. A
    SourceError with `retry_after_s` opens the breaker for that long, up to five minutes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._breaker = CircuitBreaker(random.Random())
        self._calls_in_flight = 0
        self.consecutive_failures = 0
        self.total_successes = 0
        self.total_failures = 0

    @property
    def state(self) -> Literal["open", "closed"]:
        """ "closed" as soon as a probe may be sent."""
        return "open" if self._breaker.state(self._clock()) == "open" else "closed"

    def try_acquire(self) -> bool:
        """Reserve a call, which must then be made with `run`; False if none may be made now."""
        if self._calls_in_flight >= _MAX_CONCURRENT_CALLS:
            return False
        now = self._clock()
        if self._breaker.is_tripped:
            if not self._breaker.is_probe_due(now):
                return False
            self._breaker.start_probe(now)
        self._calls_in_flight += 1
        return True

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make the reserved call and record its outcome. Raises what `call` raises."""
        try:
            result = await call()
        except asyncio.CancelledError:
            self._breaker.abandon_probe(self._clock())
            raise
        except Exception as error:
            self._record_failure(error)
            raise
        finally:
            self._calls_in_flight -= 1
        self._breaker.record_success(self._clock())
        self.consecutive_failures = 0
        self.total_successes += 1
        return result

    def _record_failure(self, error: Exception) -> None:
        self.consecutive_failures += 1
        self.total_failures += 1
        now = self._clock()
        if isinstance(error, SourceError) and error.retry_after_s is not None:
            self._breaker.open("failures", now, min(error.retry_after_s, _MAX_RETRY_AFTER_S))
        else:
            self._breaker.record_failure(now)
