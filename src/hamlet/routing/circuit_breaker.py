"""The breaker: keeps calls away from a deployment that fails, and lets it back in step by step."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

Reason = Literal["failures", "slow", "config", "quota"]

_IN_A_ROW = 3.0
_RECENT, _RECENT_FAILURES, _RECENT_S = 10, 5.0, 60.0
_BASE_S, _MAX_S = 10.0, 300.0
_HEALTHY_S = 60.0
_CLOSE_AFTER = 2
_PROBE_S, _PROBE_PAUSE_S = 30.0, 1.0
_SLOW, _SLOW_IN_A_ROW = 8.0, 5
_SLOW_START_S, _SLOW_START_FROM = 30.0, 0.1


class Breaker:
    """CLOSED -> OPEN -> HALF_OPEN -> CLOSED (slow start). Times are monotonic seconds.

    It opens after three failures in a row, or five among the last ten within a minute: no volume is
    asked for, since one of many deployments sees a call every two seconds. `epoch` grows with each
    change, so that processes that share what they know can tell the newer of two.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._row = 0.0
        self._slow_row = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._successes = 0
        self._probing_until = 0.0
        self._healthy_since = 0.0
        self._closed_at: float | None = None
        self.opened = False
        self.reason: Reason | None = None
        self.until = 0.0
        self.trips = 0
        self.epoch = 0

    def state(self, now: float) -> Literal["closed", "open", "half_open"]:
        """The state in the field's words."""
        if not self.opened:
            return "closed"
        return "open" if now < self.until else "half_open"

    def hopeless(self, now: float) -> bool:
        """Whether trying is in vain: not luck is the trouble, but a key, a name or money."""
        return self.opened and self.reason in ("config", "quota") and now < self.until

    def probe_due(self, now: float) -> bool:
        """Whether one call may find out if it is well again."""
        return self.opened and now >= self.until and now >= self._probing_until

    def start_probe(self, now: float) -> None:
        """The one probe is under way; if nobody hears of it again, another may start later."""
        self._probing_until = now + _PROBE_S

    def on_trial(self, now: float) -> bool:
        """Whether a probe is under way, or one has succeeded and another is wanted."""
        return self.opened and (now < self._probing_until or self._successes > 0)

    def abandon_probe(self, now: float) -> None:
        """The probe came to nothing either way, as when its caller left. Another may follow."""
        self._probing_until = now + _PROBE_PAUSE_S

    def weight(self, now: float) -> float:
        """The part of its share to give: grows from a tenth to all in the slow start."""
        if self._closed_at is None:
            return 1.0
        part = (now - self._closed_at) / _SLOW_START_S
        if part >= 1:
            self._closed_at = None
            return 1.0
        return max(_SLOW_START_FROM, part)

    def succeeded(self, now: float) -> None:
        """A call was answered."""
        self._row = 0.0
        self._recent.append((now, 0.0))
        if not self.opened:
            if self.trips:
                self._forgive(now)
            return
        self._probing_until = 0.0
        self._successes += 1
        if self._successes >= _CLOSE_AFTER:
            self.close(now)

    def failed(self, now: float, blame: float = 1.0) -> None:
        """A call failed; `blame` is 1, or less where it may not be the deployment's fault."""
        self._row += blame
        self._recent.append((now, blame))
        self._healthy_since = now
        if self.opened:
            if now >= self.until:
                self.open("failures", now)
            return
        recent = sum(b for at, b in self._recent if now - at <= _RECENT_S)
        if self._row >= _IN_A_ROW or recent >= _RECENT_FAILURES:
            self.open("failures", now)

    def answered(self, ratio: float, now: float) -> None:
        """How many times slower than expected the last answer was."""
        self._slow_row = self._slow_row + 1 if ratio > _SLOW else 0
        if self._slow_row >= _SLOW_IN_A_ROW and not self.opened:
            self.open("slow", now)

    def open(self, reason: Reason, now: float, for_s: float | None = None) -> None:
        """Keep calls away: for `for_s`, or longer each time in a row."""
        self.trips += 1
        grown = min(_MAX_S, _BASE_S * 2 ** (self.trips - 1)) * self._rng.uniform(0.9, 1.1)
        self._become(opened=True, reason=reason)
        self.until = now + (grown if for_s is None else for_s)

    def close(self, now: float) -> None:
        """Let calls in again, a few at first."""
        self._become(opened=False, reason=None)
        self._closed_at = self._healthy_since = now

    def _become(self, *, opened: bool, reason: Reason | None) -> None:
        self.opened, self.reason = opened, reason
        self.epoch += 1
        self._row, self._slow_row, self._successes, self._probing_until = 0.0, 0, 0, 0.0
        self._recent.clear()

    def adopt(
        self, epoch: int, reason: Reason | None, for_s: float, trips: int, now: float
    ) -> bool:
        """Take over what another process knows, if it is newer; True if it was.

        Of two equally new ones the open one counts, so that processes come to agree.
        """
        stricter = reason is not None and not self.opened
        if epoch < self.epoch or (epoch == self.epoch and not stricter):
            return False
        if reason is None:
            if self.opened:
                self.close(now)
        else:
            self._become(opened=True, reason=reason)
            self.until = now + for_s
        self.epoch, self.trips = epoch, trips
        return True

    def _forgive(self, now: float) -> None:
        if now - self._healthy_since >= _HEALTHY_S:
            self.trips -= 1
            self._healthy_since = now


Lease = Callable[[str], bool]
"""Whether this process may probe the deployment of that id: one probe among all processes."""
