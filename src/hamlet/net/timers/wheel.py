"""Many timers in one: each of the loop's own would cost a stream half a kilobyte."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Protocol

_SLOT_S = 0.05
_here = threading.local()


class Bell(Protocol):
    """What a wheel rings. Hashed by identity."""

    def ring(self) -> None:
        """The time has come; it is set no more."""
        ...


class Wheel:
    """The bells of one loop, by the slot of time in which they are due; one timer turns it."""

    __slots__ = ("_next", "_slots", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, dict[Bell, None]] = {}
        self._next: float = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float, bell: Bell) -> int:
        """Ring at `at`, in the loop's seconds, or up to a slot later; returns what unsets it."""
        slot = math.ceil(at / _SLOT_S)
        self._slots.setdefault(slot, {})[bell] = None
        if slot < self._next:
            self._arm(slot)
        return slot

    def unset(self, slot: int, bell: Bell) -> None:
        """Do not ring it. May be said of one that has rung."""
        bells = self._slots.get(slot)
        if bells is not None:
            bells.pop(bell, None)
            if not bells:
                del self._slots[slot]

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = self.loop.call_at(slot * _SLOT_S, self._turn)

    def _turn(self) -> None:
        self._next, self._timer = math.inf, None
        now = self.loop.time()
        try:
            for slot in sorted(slot for slot in self._slots if slot * _SLOT_S <= now):
                # One at a time: a bell may unset others, or set itself again for later.
                while bells := self._slots.get(slot):
                    bell = next(iter(bells))
                    self.unset(slot, bell)
                    bell.ring()
        finally:
            # Whatever one of them raises, the others ring.
            if self._slots:
                self._arm(min(self._slots))


def running_wheel() -> Wheel:
    """The wheel of the running loop."""
    loop = asyncio.get_running_loop()
    known: Wheel | None = getattr(_here, "wheel", None)
    if known is None or known.loop is not loop:
        known = _here.wheel = Wheel(loop)
    return known
