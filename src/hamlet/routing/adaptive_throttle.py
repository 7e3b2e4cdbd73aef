"""Client-side throttling: ask less of a vendor that refuses us for being overloaded.

https://sre.google/sre-book/handling-overload/ (adaptive throttling), with K = 1.5.
"""

from __future__ import annotations

import random

_K = 1.5
# Fewer calls than this say nothing of a vendor.
_LEAST = 20
_WINDOW_S, _SLICES = 120.0, 12


class VendorThrottle:
    """Counts what one vendor was asked and what it took, over two minutes in slices."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._slices: dict[int, list[int]] = {}
        self.active = False

    def asked(self, now: float, *, overloaded: bool) -> None:
        """A call was answered, or refused for overload."""
        self.active = self.active or overloaded
        counts = self._slices.setdefault(int(now * _SLICES / _WINDOW_S), [0, 0])
        counts[0] += 1
        counts[1] += not overloaded
        if len(self._slices) > 2 * _SLICES:
            self._forget(now)

    def spares(self, now: float) -> bool:
        """Whether this call should leave the vendor alone: drawn anew each time."""
        if not self.active:
            return False
        self._forget(now)
        asked = sum(counts[0] for counts in self._slices.values())
        taken = sum(counts[1] for counts in self._slices.values())
        self.active = taken < asked
        if asked < _LEAST:
            return False
        return self._rng.random() < max(0.0, (asked - _K * taken) / (asked + 1))

    def _forget(self, now: float) -> None:
        oldest = int(now * _SLICES / _WINDOW_S) - _SLICES
        self._slices = {at: counts for at, counts in self._slices.items() if at > oldest}
