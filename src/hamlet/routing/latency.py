"""How long an answer should take, and how much slower than that each deployment is."""

from __future__ import annotations

import math
from array import array

# Before anything is known: half a second and 40 us a token, the middle of the vendors measured.
_PRIOR = ((0.0, 0.45), (2000.0, 0.53))
_FORGET = 0.995
_TRUSTED_AFTER = 30
_CLIP = 3.0
_RATIOS, _RESORT_EVERY = 400, 40
TAU_S = 60.0
SLOWEST = 10.0
# Two answers in a row that take this many times what is expected are no accident.
TOO_SLOW, NO_ACCIDENT = 4.0, 2


class Expectation:
    """Seconds = a + b * tokens, fitted as answers come, over all deployments of one model.

    Old answers fade; an outlier counts for at most three times what was expected, so that a slow
    deployment does not move what is expected of the others.
    """

    def __init__(self) -> None:
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._seen = 0
        self._a = self._b = 0.0
        # Not lists of floats: among what thousands of streams make, each of the few objects that
        # stay keeps a mebibyte of memory from being given back.
        self._ratios = array("d")
        self._sorted = array("d")
        for x, y in _PRIOR:
            self._add(x, y)
        self._fit()

    def of(self, tokens: float) -> float:
        """Seconds to expect."""
        return self._a + self._b * tokens

    def learn(self, tokens: float, seconds: float) -> float:
        """Take in an answer; returns observed over expected."""
        expected = self.of(tokens)
        ratio = seconds / expected
        if self._seen >= _TRUSTED_AFTER:
            seconds = min(seconds, _CLIP * expected)
        self._keep(ratio)
        self._add(tokens, seconds)
        self._fit()
        return ratio

    def _keep(self, ratio: float) -> None:
        """The last `_RATIOS` of them, sorted now and then."""
        if len(self._ratios) < _RATIOS:
            self._ratios.append(ratio)
        else:
            self._ratios[self._seen % _RATIOS] = ratio
        self._seen += 1
        if self._seen % _RESORT_EVERY == 0:
            self._sorted = array("d", sorted(self._ratios))

    def quantile(self, q: float, tokens: float) -> float | None:
        """The seconds that a part `q` of answers stay within; None while too few were seen."""
        if not self._sorted:
            return None
        return self._sorted[min(int(q * len(self._sorted)), len(self._sorted) - 1)] * self.of(
            tokens
        )

    def _add(self, x: float, y: float) -> None:
        self._w = self._w * _FORGET + 1
        self._x = self._x * _FORGET + x
        self._y = self._y * _FORGET + y
        self._xx = self._xx * _FORGET + x * x
        self._xy = self._xy * _FORGET + x * y

    def _fit(self) -> None:
        mean_x, mean_y = self._x / self._w, self._y / self._w
        variance = self._xx / self._w - mean_x * mean_x
        covariance = self._xy / self._w - mean_x * mean_y
        # Done for every answer, and max() would cost as much as all the rest.
        self._b = covariance / variance if variance > 1 and covariance > 0 else 0.0
        a = mean_y - self._b * mean_x
        self._a = a if a > 0.001 else 0.001


class Slowness:
    """Peak-EWMA of observed over expected: jumps up at once, comes down with `TAU_S`.

    Without samples it drifts back to 1, so that a deployment which was slow is tried again.
    After Finagle's PeakEwma, with normalised samples: long prompts do not look like slow hosts.
    """

    __slots__ = ("_at", "_row", "_value")

    def __init__(self, now: float) -> None:
        self._value = 1.0
        self._at = now
        self._row = 0

    def value(self, now: float) -> float:
        """Times slower than expected, 1 to 10."""
        if self._value == 1.0:
            return 1.0
        return 1 + (self._value - 1) * math.exp((self._at - now) / TAU_S)

    def lasts(self, now: float, late: int = 0, owing: bool = False) -> bool:
        """Whether it is so slow, and not by accident, that others should be asked.

        `late` calls have waited so long that their answers will be too slow, whenever they come.
        Who was slow before and may be well again is tried with one call at a time: `owing` says
        that one is on its way.
        """
        if self._row + late < NO_ACCIDENT:
            return False
        return late > 0 or owing or self.value(now) > TOO_SLOW

    def sample(self, ratio: float, now: float) -> None:
        """Take in one answer."""
        self._row = self._row + 1 if ratio > TOO_SLOW else 0
        weight = math.exp((self._at - now) / TAU_S)
        if ratio > 1 + (self._value - 1) * weight:
            self._value = ratio if ratio < SLOWEST else SLOWEST
        else:
            value = self._value * weight + ratio * (1 - weight)
            self._value = value if value > 1 else 1.0
        self._at = now

    def raise_to(self, ratio: float, now: float) -> None:
        """At least this slow, from now on."""
        ratio = min(ratio, SLOWEST)
        if ratio > self.value(now):
            self._value, self._at = ratio, now
