"""Counters and histograms that are cheap enough to update on every call."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector


class Counter(Collector):
    """A counter for use in the event loop only.

    A series is exposed from `init_series` or its first count on.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def init_series(self, labels: tuple[str, ...]) -> None:
        """Expose a series with 0, so that its first count makes a rate."""
        self._counts.setdefault(labels, 0.0)

    def inc(self, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add `amount` to the series of these label values, in the order of declaration."""
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
    """A histogram at a tenth of prometheus_client's cost: one bisection, no lock, no label check.

    `observe` is for the event loop only. `collect` may run in another thread, where each series
    may lag by one observation. `buckets` are upper bounds in the metric's unit.
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
        """Expose a series without observations."""
        self._series.setdefault(labels, _HistogramSeries(len(self._bounds) + 1))

    def observe(self, labels: tuple[str, ...], value: float, trace_id: str = "") -> None:
        """Count `value` in the series of these label values, in the order of declaration.

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
