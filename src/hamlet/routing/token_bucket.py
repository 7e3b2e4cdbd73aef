"""A leaky bucket: what is poured in drains at a constant rate."""

from __future__ import annotations

import math


class LeakyBucket:
    """Holds up to `depth`, drains `rate` a second. Its level may be above, but never below 0.

    Every method takes the time as monotonic seconds.
    """

    __slots__ = ("_at", "_level", "depth", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self._level = 0.0
        self._at = now

    def level(self, now: float) -> float:
        """What is in it now."""
        if now > self._at:
            level = self._level - (now - self._at) * self.rate
            self._level = level if level > 0 else 0.0
            self._at = now
        return self._level

    def pour(self, amount: float, now: float) -> float:
        """Add `amount`; a negative one takes out. Returns what is in it then."""
        level = self.level(now) + amount
        self._level = level if level > 0 else 0.0
        return self._level

    def fill_up(self, now: float) -> None:
        """Take it for full."""
        self._level = max(self.level(now), self.depth)

    def scale(self, factor: float, now: float) -> None:
        """Shrink, with what is in it, or grow, when what is in it stays: others add their parts."""
        self._level = self.level(now) * min(1.0, factor)
        self.rate *= factor
        self.depth *= factor

    def free_in(self, amount: float, now: float, limit: float = 1.0) -> float:
        """Seconds until `amount` fits below `limit` of the depth; infinite if it never does."""
        excess = self.level(now) + amount - limit * self.depth
        if excess <= 0:
            return 0.0
        return excess / self.rate if amount <= limit * self.depth else math.inf
