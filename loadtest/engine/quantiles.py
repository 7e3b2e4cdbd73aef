"""The quantile of all load tests and benches: nearest rank, without interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that a share `q` of all values does not exceed (nearest rank).

    `q` is between 0 and 1. NaN is left out; None if nothing is left.
    """
    known = sorted(value for value in values if value == value)
    return sorted_quantile(known, q) if known else None


def sorted_quantile(ordered: Sequence[float], q: float) -> float:
    """The same of values that are sorted already, of which there is at least one and none is NaN."""
    return ordered[max(0, min(len(ordered), math.ceil(q * len(ordered))) - 1)]


def p50_p99(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile. Raises ValueError if there are no values."""
    known = sorted(value for value in values if value == value)
    if not known:
        raise ValueError("no values to take percentiles of")
    return sorted_quantile(known, 0.5), sorted_quantile(known, 0.99)
