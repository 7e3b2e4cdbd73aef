"""The circuit breaker: keeps calls away from what fails, and lets them back in step by step.

https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

OpenReason = Literal["failures", "slow", "config", "quota"]

_CONSECUTIVE_FAILURES = 3.0
_WINDOW_CALLS, _WINDOW_FAILURES, _WINDOW_S = 10, 5.0, 60.0
_BASE_OPEN_S, _MAX_OPEN_S, _OPEN_JITTER = 10.0, 300.0, 0.1
_TRIP_DECAY_S = 60.0
_PROBES_TO_CLOSE = 2
_PROBE_TIMEOUT_S, _PROBE_PAUSE_S = 30.0, 1.0
_SLOW_RATIO, _CONSECUTIVE_SLOW = 8.0, 5
_SLOW_START_S, _SLOW_START_MIN_WEIGHT = 30.0, 0.1


class CircuitBreaker:
    """CLOSED -> OPEN -> HALF_OPEN -> CLOSED (slow start). Times are monotonic seconds.

    It opens after three failures in a row, or five among the last ten calls within a minute. There
    is no minimum volume, since one of many deployments may see a call every two seconds only.
    `epoch` grows with each change, so that processes can tell the newer of two states.

    It knows nothing of deployments and serves any upstream. Before a call: if it `is_tripped`, call
    only if `is_probe_due(now)`, after `start_probe(now)`. After it: `record_success`,
    `record_failure`, or `abandon_probe` if it was cancelled. `open("failures", now, for_s)` honors
    a Retry-After.
    """

    def __init__(self, rng: random.Random) -> None:
        """Closed. `rng` spreads the times at which the breakers of many processes half-open."""
        self._rng = rng
        self._consecutive_failures = 0.0
        self._consecutive_slow = 0
        self._recent_outcomes: deque[tuple[float, float]] = deque(maxlen=_WINDOW_CALLS)
        self._probe_successes = 0
        self._probing_until = 0.0
        self._healthy_since = 0.0
        self._closed_at: float | None = None
        self.is_tripped = False
        self.reason: OpenReason | None = None
        self.open_until = 0.0
        self.trip_count = 0
        self.epoch = 0

    def state(self, now: float) -> Literal["closed", "open", "half_open"]:
        """The state, which turns from open to half-open as time passes."""
        if not self.is_tripped:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def is_retry_futile(self, now: float) -> bool:
        """Whether a call is bound to fail: the cause is a key, a model name or the quota."""
        return self.is_tripped and self.reason in ("config", "quota") and now < self.open_until

    def is_probe_due(self, now: float) -> bool:
        """Whether it is half open and one call may probe it."""
        return self.is_tripped and now >= self.open_until and now >= self._probing_until

    def start_probe(self, now: float) -> None:
        """A probe starts. Without a result another may start after half a minute."""
        self._probing_until = now + _PROBE_TIMEOUT_S

    def is_probing(self, now: float) -> bool:
        """Whether a probe is in flight, or one has succeeded and another must follow."""
        return self.is_tripped and (now < self._probing_until or self._probe_successes > 0)

    def abandon_probe(self, now: float) -> None:
        """The probe has no result, since its call was cancelled. Another may follow in a second."""
        self._probing_until = now + _PROBE_PAUSE_S

    def slow_start_weight(self, now: float) -> float:
        """The part of its usual share of calls, 0.1 to 1: grows during the slow start."""
        if self._closed_at is None:
            return 1.0
        part = (now - self._closed_at) / _SLOW_START_S
        if part >= 1:
            self._closed_at = None
            return 1.0
        return max(_SLOW_START_MIN_WEIGHT, part)

    def record_success(self, now: float) -> None:
        """A call succeeded."""
        self._consecutive_failures = 0.0
        self._recent_outcomes.append((now, 0.0))
        if not self.is_tripped:
            if self.trip_count:
                self._decay_trips(now)
            return
        self._probing_until = 0.0
        self._probe_successes += 1
        if self._probe_successes >= _PROBES_TO_CLOSE:
            self.close(now)

    def record_failure(self, now: float, weight: float = 1.0) -> None:
        """A call failed. `weight` is below 1 where something else may have been the cause."""
        self._consecutive_failures += weight
        self._recent_outcomes.append((now, weight))
        self._healthy_since = now
        if self.is_tripped:
            if now >= self.open_until:
                self.open("failures", now)
            return
        recent = sum(failed for at, failed in self._recent_outcomes if now - at <= _WINDOW_S)
        if self._consecutive_failures >= _CONSECUTIVE_FAILURES or recent >= _WINDOW_FAILURES:
            self.open("failures", now)

    def record_latency_ratio(self, ratio: float, now: float) -> None:
        """A response took `ratio` times as long as expected. Five slow ones in a row open it."""
        self._consecutive_slow = self._consecutive_slow + 1 if ratio > _SLOW_RATIO else 0
        if self._consecutive_slow >= _CONSECUTIVE_SLOW and not self.is_tripped:
            self.open("slow", now)

    def open(self, reason: OpenReason, now: float, for_s: float | None = None) -> None:
        """Admit no call for `for_s` seconds, or for longer each time in a row if it is None."""
        self.trip_count += 1
        backoff_s = min(_MAX_OPEN_S, _BASE_OPEN_S * 2 ** (self.trip_count - 1))
        backoff_s *= self._rng.uniform(1 - _OPEN_JITTER, 1 + _OPEN_JITTER)
        self._transition(is_tripped=True, reason=reason)
        self.open_until = now + (backoff_s if for_s is None else for_s)

    def close(self, now: float) -> None:
        """Admit calls again, a few at first."""
        self._transition(is_tripped=False, reason=None)
        self._closed_at = self._healthy_since = now

    def _transition(self, *, is_tripped: bool, reason: OpenReason | None) -> None:
        self.is_tripped, self.reason = is_tripped, reason
        self.epoch += 1
        (
            self._consecutive_failures,
            self._consecutive_slow,
            self._probe_successes,
            self._probing_until,
        ) = 0.0, 0, 0, 0.0
        self._recent_outcomes.clear()

    def merge_remote(
        self, epoch: int, reason: OpenReason | None, for_s: float, trip_count: int, now: float
    ) -> bool:
        """Adopt the state of another process if it is newer; returns whether it was.

        Of two states of one epoch the open one wins, so that all processes converge.
        """
        stricter = reason is not None and not self.is_tripped
        if epoch < self.epoch or (epoch == self.epoch and not stricter):
            return False
        if reason is None:
            if self.is_tripped:
                self.close(now)
        else:
            self._transition(is_tripped=True, reason=reason)
            self.open_until = now + for_s
        self.epoch, self.trip_count = epoch, trip_count
        return True

    def _decay_trips(self, now: float) -> None:
        if now - self._healthy_since >= _TRIP_DECAY_S:
            self.trip_count -= 1
            self._healthy_since = now


ProbeCheck = Callable[[str], bool]
"""Whether this process may probe the deployment of that id, so that only one process does."""
