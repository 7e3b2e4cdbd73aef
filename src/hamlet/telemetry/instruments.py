"""Counters and histograms for what is counted on every call."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector


class Counter(Collector):
    """Counted in the event loop alone; a series is there from `zero` on, or its first count."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def init_series(self, labels: tuple[str, ...]) -> None:
        """Show a series before anything is counted, so that its first count makes a rate."""
        self._counts.setdefault(labels, 0.0)

    def inc(self, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add `by` under label values in the order in which the labels were declared."""
        try:
            self._counts[labels] += amount
        except KeyError:
            self._counts[labels] = amount

    def describe(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


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
        self._series: dict[tuple[str, ...], _HistogramSeries] = {}
        registry.register(self)

    def init_series(self, labels: tuple[str, ...]) -> None:
        """Show a series before anything is observed."""
        self._series.setdefault(labels, _HistogramSeries(len(self._bounds) + 1))

    def observe(self, labels: tuple[str, ...], value: float, trace_id: str = "") -> None:
        """Count `value` under label values in the order in which the labels were declared.

        The last `trace_id` of each bucket becomes its exemplar.
        """
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _HistogramSeries(len(self._bounds) + 1)
        bucket = bisect_left(self._bounds, value)
        series.counts[bucket] += 1
        series.total += value
        if trace_id:
            series.exemplars[bucket] = (trace_id, value, time.time())

    def describe(self) -> Iterable[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        edges = [*map(str, map(float, self._bounds)), "+Inf"]
        for labels, series in list(self._series.items()):
            family.add_metric(labels, list(_buckets(edges, series)), series.total)
        yield family


def _buckets(edges: Sequence[str], series: _HistogramSeries) -> Iterable[Any]:
    cumulative, exemplars = 0, dict(series.exemplars)
    for i, (edge, count) in enumerate(zip(edges, list(series.counts), strict=True)):
        cumulative += count
        if i in exemplars:
            trace_id, value, at = exemplars[i]
            yield edge, float(cumulative), Exemplar({"trace_id": trace_id}, value, at)
        else:
            yield edge, float(cumulative)


class _HistogramSeries:
    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0
        self.exemplars: dict[int, tuple[str, float, float]] = {}
