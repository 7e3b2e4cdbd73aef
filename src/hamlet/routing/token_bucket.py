"""The token bucket: the one rate limiter, of callers' keys and of deployments' capacity."""

from __future__ import annotations

import math


class TokenBucket:
    """Refills at `rate` tokens a second, up to `capacity`.

    Kept as the tokens in use, `level`: a token bucket and a leaky bucket as a meter are mirror
    images (https://en.wikipedia.org/wiki/Leaky_bucket#As_a_meter). `level` may exceed the capacity,
    when a call is admitted that costs more than is left; it is never below 0. Every method takes
    the time as monotonic seconds.
    """

    __slots__ = ("_level", "_updated_at", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        """A full bucket: nothing is in use."""
        self.rate = rate
        self.capacity = capacity
        self._level = 0.0
        self._updated_at = now

    def try_acquire(self, now: float) -> float:
        """Take one token; returns 0, or the seconds until there is one."""
        level = self._level
        if now > self._updated_at:
            level -= (now - self._updated_at) * self.rate
            self._level = level = level if level > 0 else 0.0
            self._updated_at = now
        if level + 1 <= self.capacity:
            self._level = level + 1
            return 0.0
        return (level + 1 - self.capacity) / self.rate

    def level(self, now: float) -> float:
        """The tokens in use now."""
        if now > self._updated_at:
            level = self._level - (now - self._updated_at) * self.rate
            self._level = level if level > 0 else 0.0
            self._updated_at = now
        return self._level

    def add(self, amount: float, now: float) -> float:
        """Put `amount` tokens in use, or give them back if it is negative; returns the level."""
        level = self.level(now) + amount
        self._level = level if level > 0 else 0.0
        return self._level

    def exhaust(self, now: float) -> None:
        """Put all tokens in use."""
        self._level = max(self.level(now), self.capacity)

    def scale(self, factor: float, now: float) -> None:
        """Change rate and capacity by a factor.

        The level shrinks with them, and stays when they grow: other processes report theirs.
        """
        self._level = self.level(now) * min(1.0, factor)
        self.rate *= factor
        self.capacity *= factor

    def time_until_free(self, amount: float, now: float, max_fill: float = 1.0) -> float:
        """Seconds until `amount` fits below `max_fill` of the capacity; infinite if it never does.

        `max_fill` is a part of the capacity, 0 to 1.
        """
        excess = self.level(now) + amount - max_fill * self.capacity
        if excess <= 0:
            return 0.0
        return excess / self.rate if amount <= max_fill * self.capacity else math.inf
