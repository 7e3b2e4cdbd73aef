"""A timer whose deadline moves far more often than it expires."""

from __future__ import annotations

import math
from abc import abstractmethod

from hamlet.net.timers.timer_wheel import TimerWheel


class LazyTimer:
    """Re-armed lazily: to move the deadline later is to store a number.

    The wheel is used when the deadline moves earlier than the slot in use, and when that slot
    expires: if the deadline has moved by then, the timer schedules itself again. A base class and
    not a part of its owner, since a connection or a stream that owned one would need a second
    object, and a reference cycle to be called back.
    """

    __slots__ = ("_due", "_scheduled_at", "_slot", "_wheel")

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._slot: int | None = None
        self._due = self._scheduled_at = 0.0

    @abstractmethod
    def on_timeout(self) -> None:
        """Handle the deadline's passing. The timer is stopped until the next `set_timeout`."""

    def set_timeout(self, timeout_s: float) -> None:
        """Call `on_timeout` in `timeout_s` seconds; replaces the timeout that was set before."""
        self._due = self._wheel.loop.time() + timeout_s
        if self._slot is None or self._due < self._scheduled_at:
            self._schedule(self._due)

    def cancel_timeout(self) -> None:
        """Stop the timer until the next `set_timeout`."""
        if self._slot is not None:
            self._wheel.cancel(self._slot, self)
            self._slot = None

    def expire(self) -> None:
        self._slot = None
        if self._wheel.loop.time() < self._due:
            self._schedule(self._due)
        else:
            self.on_timeout()

    def _schedule(self, at: float) -> None:
        if self._slot is not None:
            self._wheel.cancel(self._slot, self)
            self._slot = None
        if at < math.inf:
            self._scheduled_at = at
            self._slot = self._wheel.schedule(at, self)
