"""The breaker: keeps calls away from a deployment that fails, and lets it back in step by step."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

OpenReason = Literal["failures", "slow", "config", "quota"]

_CONSECUTIVE_FAILURES = 3.0
_WINDOW_CALLS, _WINDOW_FAILURES, _WINDOW_S = 10, 5.0, 60.0
_BASE_OPEN_S, _MAX_OPEN_S = 10.0, 300.0
_TRIP_DECAY_S = 60.0
_PROBES_TO_CLOSE = 2
_PROBE_TIMEOUT_S, _PROBE_PAUSE_S = 30.0, 1.0
_SLOW_RATIO, _CONSECUTIVE_SLOW = 8.0, 5
_SLOW_START_S, _SLOW_START_MIN_WEIGHT = 30.0, 0.1


class CircuitBreaker:
    """CLOSED -> OPEN -> HALF_OPEN -> CLOSED (slow start). Times are monotonic seconds.

    It opens after three failures in a row, or five among the last ten within a minute: no volume is
    asked for, since one of many deployments sees a call every two seconds. `epoch` grows with each
    change, so that processes that share what they know can tell the newer of two.
    """

    def __init__(self, rng: random.Random) -> None:
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
        """The state in the field's words."""
        if not self.is_tripped:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def is_retry_futile(self, now: float) -> bool:
        """Whether trying is in vain: not luck is the trouble, but a key, a name or money."""
        return self.is_tripped and self.reason in ("config", "quota") and now < self.open_until

    def is_probe_due(self, now: float) -> bool:
        """Whether one call may find out if it is well again."""
        return self.is_tripped and now >= self.open_until and now >= self._probing_until

    def start_probe(self, now: float) -> None:
        """The one probe is under way; if nobody hears of it again, another may start later."""
        self._probing_until = now + _PROBE_TIMEOUT_S

    def is_probing(self, now: float) -> bool:
        """Whether a probe is under way, or one has succeeded and another is wanted."""
        return self.is_tripped and (now < self._probing_until or self._probe_successes > 0)

    def abandon_probe(self, now: float) -> None:
        """The probe came to nothing either way, as when its caller left. Another may follow."""
        self._probing_until = now + _PROBE_PAUSE_S

    def slow_start_weight(self, now: float) -> float:
        """The part of its share to give: grows from a tenth to all in the slow start."""
        if self._closed_at is None:
            return 1.0
        part = (now - self._closed_at) / _SLOW_START_S
        if part >= 1:
            self._closed_at = None
            return 1.0
        return max(_SLOW_START_MIN_WEIGHT, part)

    def record_success(self, now: float) -> None:
        """A call was answered."""
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
        """A call failed; `blame` is 1, or less where it may not be the deployment's fault."""
        self._consecutive_failures += weight
        self._recent_outcomes.append((now, weight))
        self._healthy_since = now
        if self.is_tripped:
            if now >= self.open_until:
                self.open("failures", now)
            return
        recent = sum(b for at, b in self._recent_outcomes if now - at <= _WINDOW_S)
        if self._consecutive_failures >= _CONSECUTIVE_FAILURES or recent >= _WINDOW_FAILURES:
            self.open("failures", now)

    def record_latency_ratio(self, ratio: float, now: float) -> None:
        """How many times slower than expected the last answer was."""
        self._consecutive_slow = self._consecutive_slow + 1 if ratio > _SLOW_RATIO else 0
        if self._consecutive_slow >= _CONSECUTIVE_SLOW and not self.is_tripped:
            self.open("slow", now)

    def open(self, reason: OpenReason, now: float, for_s: float | None = None) -> None:
        """Keep calls away: for `for_s`, or longer each time in a row."""
        self.trip_count += 1
        backoff_s = min(_MAX_OPEN_S, _BASE_OPEN_S * 2 ** (self.trip_count - 1)) * self._rng.uniform(
            0.9, 1.1
        )
        self._transition(is_tripped=True, reason=reason)
        self.open_until = now + (backoff_s if for_s is None else for_s)

    def close(self, now: float) -> None:
        """Let calls in again, a few at first."""
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
        """Take over what another process knows, if it is newer; True if it was.

        Of two equally new ones the open one counts, so that processes come to agree.
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
"""Whether this process may probe the deployment of that id: one probe among all processes."""
