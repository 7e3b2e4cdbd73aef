"""Giving freed memory back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from hamlet.net.timers.timer_wheel import TimerWheel

_MIN_PEAK_CLIENTS, _TRIM_DELAY_S = 200, 2.0


class MemoryTrim:
    """Trims the heap after most of many clients have disconnected.

    The memory of thousands of streams is free by then, but malloc keeps it. What Python's own
    allocator keeps, scattered over its arenas, stays: docs/results/archive/2026-11-25-fleet.md, G8.
    """

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._client_count = self._peak_count = 0

    def on_connect(self) -> None:
        """Count a client that connected."""
        self._client_count += 1
        self._peak_count = max(self._peak_count, self._client_count)

    def on_disconnect(self) -> None:
        """Count a client that disconnected, and schedule a trim if most have."""
        self._client_count -= 1
        if self._peak_count >= _MIN_PEAK_CLIENTS and self._client_count < self._peak_count // 4:
            self._peak_count = self._client_count
            self._wheel.schedule(self._wheel.loop.time() + _TRIM_DELAY_S, self)

    def expire(self) -> None:
        """Trim, in a thread: it takes milliseconds."""
        self._wheel.loop.run_in_executor(None, _trim)


def _trim() -> None:
    # A finished call leaves cycles, and the collector only runs when something is allocated.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
