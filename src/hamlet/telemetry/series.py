"""A histogram for what is observed on every call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Histogram(Collector):
    """Exposed like the library's, at a tenth of its price: one bisection, no lock, no label check.

    Observed in the event loop alone; `collect` may run in another thread and sees each series
    within one observation of the truth.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation = name, documentation
        self._labels, self._bounds = labels, buckets
        self._series: dict[tuple[str, ...], _Series] = {}
        registry.register(self)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count `value` under label values in the order in which the labels were declared."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds) + 1)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.total += value

    def describe(self) -> Iterable[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        edges = [*map(str, map(float, self._bounds)), "+Inf"]
        for labels, series in list(self._series.items()):
            below, buckets = 0, []
            for edge, count in zip(edges, list(series.counts), strict=True):
                below += count
                buckets.append((edge, float(below)))
            family.add_metric(labels, buckets, series.total)
        yield family


class _Series:
    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0
