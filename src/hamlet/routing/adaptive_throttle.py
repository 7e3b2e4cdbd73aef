"""Client-side throttling: send fewer calls to a vendor that refuses them as overloaded.

https://sre.google/sre-book/handling-overload/ (adaptive throttling), with K = 1.5.
"""

from __future__ import annotations

import random

_K = 1.5
# Fewer calls than this say nothing about a vendor.
_MIN_REQUESTS = 20
_WINDOW_S, _SLICE_COUNT = 120.0, 12


class AdaptiveThrottle:
    """Counts the requests to one vendor and those it accepted, over two minutes in slices."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._slices: dict[int, list[int]] = {}
        self.is_active = False

    def record(self, now: float, *, overloaded: bool) -> None:
        """The vendor accepted a call, or refused it as overloaded."""
        self.is_active = self.is_active or overloaded
        counts = self._slices.setdefault(int(now * _SLICE_COUNT / _WINDOW_S), [0, 0])
        counts[0] += 1
        counts[1] += not overloaded
        if len(self._slices) > 2 * _SLICE_COUNT:
            self._expire_slices(now)

    def should_shed(self, now: float) -> bool:
        """Whether this call should avoid the vendor: a random draw each time."""
        if not self.is_active:
            return False
        self._expire_slices(now)
        requests = sum(counts[0] for counts in self._slices.values())
        accepts = sum(counts[1] for counts in self._slices.values())
        self.is_active = accepts < requests
        if requests < _MIN_REQUESTS:
            return False
        return self._rng.random() < max(0.0, (requests - _K * accepts) / (requests + 1))

    def _expire_slices(self, now: float) -> None:
        oldest = int(now * _SLICE_COUNT / _WINDOW_S) - _SLICE_COUNT
        self._slices = {at: counts for at, counts in self._slices.items() if at > oldest}
