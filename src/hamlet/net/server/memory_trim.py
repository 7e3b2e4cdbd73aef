"""Memory that many clients leave behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress

_MIN_PEAK_CLIENTS, _TRIM_DELAY_S = 200, 2.0


class MemoryTrim:
    """Gives memory back to the system when most of many clients have gone.

    What thousands of streams held is free then, but malloc keeps it. What Python's own allocator
    keeps, scattered over its arenas, stays: docs/results/archive/2026-11-25-fleet.md, G8.
    """

    def __init__(self) -> None:
        self._client_count = self._peak_count = 0

    def on_connect(self) -> None:
        """A client connected."""
        self._client_count += 1
        self._peak_count = max(self._peak_count, self._client_count)

    def on_disconnect(self, loop: asyncio.AbstractEventLoop) -> None:
        """A client is gone."""
        self._client_count -= 1
        if self._peak_count >= _MIN_PEAK_CLIENTS and self._client_count < self._peak_count // 4:
            self._peak_count = self._client_count
            loop.call_later(_TRIM_DELAY_S, loop.run_in_executor, None, _trim)


def _trim() -> None:
    # A finished call leaves cycles, and where nothing is made nothing is collected either.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
