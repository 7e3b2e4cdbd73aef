"""A leaky bucket: what is poured in drains at a constant rate."""

from __future__ import annotations

import math


class LeakyBucket:
    """Holds up to `depth`, drains `rate` a second. Its level may be above, but never below 0.

    Every method takes the time as monotonic seconds.
    """

    __slots__ = ("_level", "_updated_at", "depth", "rate")

    def __init__(self, rate: float, depth: float, now: float) -> None:
        self.rate = rate
        self.depth = depth
        self._level = 0.0
        self._updated_at = now

    def level(self, now: float) -> float:
        """What is in it now."""
        if now > self._updated_at:
            level = self._level - (now - self._updated_at) * self.rate
            self._level = level if level > 0 else 0.0
            self._updated_at = now
        return self._level

    def add(self, amount: float, now: float) -> float:
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

    def time_until_free(self, amount: float, now: float, max_fill: float = 1.0) -> float:
        """Seconds until `amount` fits below `limit` of the depth; infinite if it never does."""
        excess = self.level(now) + amount - max_fill * self.depth
        if excess <= 0:
            return 0.0
        return excess / self.rate if amount <= max_fill * self.depth else math.inf
