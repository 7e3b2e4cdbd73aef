"""Memory that many clients leave behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress

_MANY_CLIENTS, _EBB_S = 200, 2.0


class Tide:
    """Gives memory back to the system when most of many clients have gone.

    What thousands of streams held is free then, but malloc keeps it. What Python's own allocator
    keeps, scattered over its arenas, stays: docs/results/archive/2026-11-25-fleet.md, G8.
    """

    def __init__(self) -> None:
        self._open = self._high = 0

    def came(self) -> None:
        """A client connected."""
        self._open += 1
        self._high = max(self._high, self._open)

    def went(self, loop: asyncio.AbstractEventLoop) -> None:
        """A client is gone."""
        self._open -= 1
        if self._high >= _MANY_CLIENTS and self._open < self._high // 4:
            self._high = self._open
            loop.call_later(_EBB_S, loop.run_in_executor, None, _give_back)


def _give_back() -> None:
    # A finished call leaves cycles, and where nothing is made nothing is collected either.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
