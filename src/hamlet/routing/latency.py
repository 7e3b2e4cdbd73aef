"""How long an answer should take, and how much slower than that each deployment is."""

from __future__ import annotations

import math
from array import array

# Before anything is known: half a second and 40 us a token, the middle of the vendors measured.
_PRIOR = ((0.0, 0.45), (2000.0, 0.53))
_DECAY = 0.995
_CLIP_AFTER_SAMPLES = 30
_CLIP_RATIO = 3.0
_MAX_RATIOS, _RESORT_EVERY = 400, 40
TAU_S = 60.0
MAX_SLOWNESS = 10.0
# Two answers in a row that take this many times what is expected are no accident.
OUTLIER_RATIO, OUTLIER_SAMPLES = 4.0, 2


class LatencyModel:
    """Seconds = a + b * tokens, fitted as answers come, over all deployments of one model.

    Old answers fade; an outlier counts for at most three times what was expected, so that a slow
    deployment does not move what is expected of the others.
    """

    def __init__(self) -> None:
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._sample_count = 0
        self._intercept_s = self._slope_s = 0.0
        # Not lists of floats: among what thousands of streams make, each of the few objects that
        # stay keeps a mebibyte of memory from being given back.
        self._ratios = array("d")
        self._sorted = array("d")
        for x, y in _PRIOR:
            self._accumulate(x, y)
        self._fit()

    def predict_s(self, tokens: float) -> float:
        """Seconds to expect."""
        return self._intercept_s + self._slope_s * tokens

    def learn(self, tokens: float, seconds: float) -> float:
        """Take in an answer; returns observed over expected."""
        expected = self.predict_s(tokens)
        ratio = seconds / expected
        if self._sample_count >= _CLIP_AFTER_SAMPLES:
            seconds = min(seconds, _CLIP_RATIO * expected)
        self._add_ratio(ratio)
        self._accumulate(tokens, seconds)
        self._fit()
        return ratio

    def _add_ratio(self, ratio: float) -> None:
        """The last `_RATIOS` of them, sorted now and then."""
        if len(self._ratios) < _MAX_RATIOS:
            self._ratios.append(ratio)
        else:
            self._ratios[self._sample_count % _MAX_RATIOS] = ratio
        self._sample_count += 1
        if self._sample_count % _RESORT_EVERY == 0:
            self._sorted = array("d", sorted(self._ratios))

    def quantile_s(self, q: float, tokens: float) -> float | None:
        """The seconds that a part `q` of answers stay within; None while too few were seen."""
        if not self._sorted:
            return None
        return self._sorted[
            min(int(q * len(self._sorted)), len(self._sorted) - 1)
        ] * self.predict_s(tokens)

    def _accumulate(self, x: float, y: float) -> None:
        self._w = self._w * _DECAY + 1
        self._x = self._x * _DECAY + x
        self._y = self._y * _DECAY + y
        self._xx = self._xx * _DECAY + x * x
        self._xy = self._xy * _DECAY + x * y

    def _fit(self) -> None:
        mean_x, mean_y = self._x / self._w, self._y / self._w
        variance = self._xx / self._w - mean_x * mean_x
        covariance = self._xy / self._w - mean_x * mean_y
        # Done for every answer, and max() would cost as much as all the rest.
        self._slope_s = covariance / variance if variance > 1 and covariance > 0 else 0.0
        a = mean_y - self._slope_s * mean_x
        self._intercept_s = a if a > 0.001 else 0.001


class PeakEwma:
    """Peak-EWMA of observed over expected: jumps up at once, comes down with `TAU_S`.

    Without samples it drifts back to 1, so that a deployment which was slow is tried again.
    After Finagle's PeakEwma, with normalised samples: long prompts do not look like slow hosts.
    """

    __slots__ = ("_consecutive_slow", "_updated_at", "_value")

    def __init__(self, now: float) -> None:
        self._value = 1.0
        self._updated_at = now
        self._consecutive_slow = 0

    def value(self, now: float) -> float:
        """Times slower than expected, 1 to 10."""
        if self._value == 1.0:
            return 1.0
        return 1 + (self._value - 1) * math.exp((self._updated_at - now) / TAU_S)

    def is_outlier(self, now: float, late_calls: int = 0, has_pending: bool = False) -> bool:
        """Whether it is so slow, and not by accident, that others should be asked.

        `late` calls have waited so long that their answers will be too slow, whenever they come.
        Who was slow before and may be well again is tried with one call at a time: `owing` says
        that one is on its way.
        """
        if self._consecutive_slow + late_calls < OUTLIER_SAMPLES:
            return False
        return late_calls > 0 or has_pending or self.value(now) > OUTLIER_RATIO

    def observe(self, ratio: float, now: float) -> None:
        """Take in one answer."""
        self._consecutive_slow = self._consecutive_slow + 1 if ratio > OUTLIER_RATIO else 0
        weight = math.exp((self._updated_at - now) / TAU_S)
        if ratio > 1 + (self._value - 1) * weight:
            self._value = ratio if ratio < MAX_SLOWNESS else MAX_SLOWNESS
        else:
            value = self._value * weight + ratio * (1 - weight)
            self._value = value if value > 1 else 1.0
        self._updated_at = now

    def raise_to(self, ratio: float, now: float) -> None:
        """At least this slow, from now on."""
        ratio = min(ratio, MAX_SLOWNESS)
        if ratio > self.value(now):
            self._value, self._updated_at = ratio, now
