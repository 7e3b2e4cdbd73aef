"""The expected latency of each model, and how much slower each deployment is."""

from __future__ import annotations

import math
from array import array

# The prior: half a second plus 40 us a token, the median of the vendors measured.
_PRIOR = ((0.0, 0.45), (2000.0, 0.53))
_DECAY = 0.995
_CLIP_AFTER_SAMPLES = 30
_CLIP_RATIO = 3.0
_MAX_RATIOS, _RESORT_EVERY = 400, 40
TAU_S = 60.0
MAX_SLOWNESS = 10.0
# Two responses in a row this many times slower than expected are no coincidence.
OUTLIER_RATIO, OUTLIER_SAMPLES = 4.0, 2


class LatencyModel:
    """Seconds = a + b * tokens: a running linear fit over all deployments of one model.

    Old samples decay; an outlier is clipped to three times its expected value, so that a slow
    deployment does not change what is expected of the others.
    """

    def __init__(self) -> None:
        self._w = self._x = self._y = self._xx = self._xy = 0.0
        self._sample_count = 0
        self._intercept_s = self._slope_s = 0.0
        # Arrays rather than lists of floats: each long-lived float among the objects of thousands
        # of streams keeps a whole arena of the allocator (1 MiB) from being released.
        self._ratios = array("d")
        self._sorted = array("d")
        for x, y in _PRIOR:
            self._accumulate(x, y)
        self._fit()

    def predict_s(self, tokens: float) -> float:
        """The expected seconds."""
        return self._intercept_s + self._slope_s * tokens

    def learn(self, tokens: float, seconds: float) -> float:
        """Add a sample; returns observed over expected seconds."""
        expected = self.predict_s(tokens)
        ratio = seconds / expected
        if self._sample_count >= _CLIP_AFTER_SAMPLES:
            seconds = min(seconds, _CLIP_RATIO * expected)
        self._add_ratio(ratio)
        self._accumulate(tokens, seconds)
        self._fit()
        return ratio

    def _add_ratio(self, ratio: float) -> None:
        """Keep the last `_MAX_RATIOS`, sorted from time to time."""
        if len(self._ratios) < _MAX_RATIOS:
            self._ratios.append(ratio)
        else:
            self._ratios[self._sample_count % _MAX_RATIOS] = ratio
        self._sample_count += 1
        if self._sample_count % _RESORT_EVERY == 0:
            self._sorted = array("d", sorted(self._ratios))

    def quantile_s(self, q: float, tokens: float) -> float | None:
        """The `q` quantile of the seconds for so many tokens; None while there are few samples."""
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
        # Runs for every response, where max() would cost as much as all the rest.
        self._slope_s = covariance / variance if variance > 1 and covariance > 0 else 0.0
        a = mean_y - self._slope_s * mean_x
        self._intercept_s = a if a > 0.001 else 0.001


class PeakEwma:
    """Peak EWMA of observed over expected latency: rises at once, decays with `TAU_S`.

    Without samples it decays to 1, so that a deployment that was slow is tried again. Finagle's
    PeakEwma over normalized samples, so that long prompts do not look like slow hosts:
    https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala
    """

    __slots__ = ("_consecutive_slow", "_updated_at", "_value")

    def __init__(self, now: float) -> None:
        self._value = 1.0
        self._updated_at = now
        self._consecutive_slow = 0

    def value(self, now: float) -> float:
        """How many times slower than expected, 1 to 10."""
        if self._value == 1.0:
            return 1.0
        return 1 + (self._value - 1) * math.exp((self._updated_at - now) / TAU_S)

    def is_outlier(self, now: float, late_calls: int = 0, has_pending: bool = False) -> bool:
        """Whether it is consistently so slow that others should be selected.

        `late_calls` have been pending for so long that their responses will be too slow in any
        case. A deployment that may have recovered is tried with one call at a time: `has_pending`
        says that one is in flight.
        """
        if self._consecutive_slow + late_calls < OUTLIER_SAMPLES:
            return False
        return late_calls > 0 or has_pending or self.value(now) > OUTLIER_RATIO

    def observe(self, ratio: float, now: float) -> None:
        """Add a sample: observed over expected latency."""
        self._consecutive_slow = self._consecutive_slow + 1 if ratio > OUTLIER_RATIO else 0
        weight = math.exp((self._updated_at - now) / TAU_S)
        if ratio > 1 + (self._value - 1) * weight:
            self._value = ratio if ratio < MAX_SLOWNESS else MAX_SLOWNESS
        else:
            value = self._value * weight + ratio * (1 - weight)
            self._value = value if value > 1 else 1.0
        self._updated_at = now

    def raise_to(self, ratio: float, now: float) -> None:
        """Raise the value to at least `ratio`."""
        ratio = min(ratio, MAX_SLOWNESS)
        if ratio > self.value(now):
            self._value, self._updated_at = ratio, now
