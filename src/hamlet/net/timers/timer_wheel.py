"""Many timers on one timer of the event loop, of which each costs half a kilobyte.

A hashed timing wheel: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987
(https://doi.org/10.1145/41457.37504), with a dictionary in place of the array.
"""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Protocol

_SLOT_S = 0.05
_thread_local = threading.local()


class Timer(Protocol):
    """What a wheel expires. Hashed by identity."""

    def expire(self) -> None:
        """Handle the timer's expiry; it is no longer scheduled."""
        ...


class TimerWheel:
    """The timers of one event loop, grouped into slots of 50 ms; a slot expires as a whole.

    A timer expires up to one slot late and never early.
    """

    __slots__ = ("_handle", "_next_slot", "_slots", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, dict[Timer, None]] = {}
        self._next_slot: float = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def schedule(self, at: float, timer: Timer) -> int:
        """Expire `timer` at `at`, in seconds of the loop's clock; returns the slot to cancel."""
        slot = math.ceil(at / _SLOT_S)
        self._slots.setdefault(slot, {})[timer] = None
        if slot < self._next_slot:
            self._arm(slot)
        return slot

    def cancel(self, slot: int, timer: Timer) -> None:
        """Remove `timer` from `slot`; does nothing if it has expired."""
        timers = self._slots.get(slot)
        if timers is not None:
            timers.pop(timer, None)
            if not timers:
                del self._slots[slot]

    def _arm(self, slot: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next_slot = slot
        self._handle = self.loop.call_at(slot * _SLOT_S, self._expire_due)

    def _expire_due(self) -> None:
        self._next_slot, self._handle = math.inf, None
        now = self.loop.time()
        try:
            for slot in sorted(slot for slot in self._slots if slot * _SLOT_S <= now):
                # One at a time: a timer may cancel others, or schedule itself again.
                while timers := self._slots.get(slot):
                    timer = next(iter(timers))
                    self.cancel(slot, timer)
                    timer.expire()
        finally:
            # An exception in one timer must not keep the others from expiring.
            if self._slots:
                self._arm(min(self._slots))


def running_wheel() -> TimerWheel:
    """The wheel of the running event loop."""
    loop = asyncio.get_running_loop()
    wheel: TimerWheel | None = getattr(_thread_local, "wheel", None)
    if wheel is None or wheel.loop is not loop:
        wheel = _thread_local.wheel = TimerWheel(loop)
    return wheel
