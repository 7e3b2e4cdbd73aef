"""Many timers in one: each of the loop's own would cost a stream half a kilobyte."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Protocol

_SLOT_S = 0.05
_thread_local = threading.local()


class Timer(Protocol):
    """What a wheel rings. Hashed by identity."""

    def expire(self) -> None:
        """The time has come; it is set no more."""
        ...


class TimerWheel:
    """The bells of one loop, by the slot of time in which they are due; one timer turns it."""

    __slots__ = ("_handle", "_next_slot", "_slots", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, dict[Timer, None]] = {}
        self._next_slot: float = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def schedule(self, at: float, timer: Timer) -> int:
        """Ring at `at`, in the loop's seconds, or up to a slot later; returns what unsets it."""
        slot = math.ceil(at / _SLOT_S)
        self._slots.setdefault(slot, {})[timer] = None
        if slot < self._next_slot:
            self._arm(slot)
        return slot

    def cancel(self, slot: int, timer: Timer) -> None:
        """Do not ring it. May be said of one that has rung."""
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
                # One at a time: a bell may unset others, or set itself again for later.
                while timers := self._slots.get(slot):
                    timer = next(iter(timers))
                    self.cancel(slot, timer)
                    timer.expire()
        finally:
            # Whatever one of them raises, the others ring.
            if self._slots:
                self._arm(min(self._slots))


def running_wheel() -> TimerWheel:
    """The wheel of the running loop."""
    loop = asyncio.get_running_loop()
    wheel: TimerWheel | None = getattr(_thread_local, "wheel", None)
    if wheel is None or wheel.loop is not loop:
        wheel = _thread_local.wheel = TimerWheel(loop)
    return wheel
