"""The exposition: what Prometheus reads, made in a thread and kept for a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.instruments import Counter, Histogram

MetricSample = tuple[str, tuple[str, ...], float]
"""A metric's name, its label values in the catalogue's order, and its value now."""
CACHE_TTL_S = 1.0


class Exposition(Collector):
    """Makes the metrics of the catalogue, and their text.

    What is read at a scrape, through `reads`, is read in the event loop, where it does not change
    under the reader; the text, which takes much longer, is made in a thread.
    """

    def __init__(self, cache_ttl_s: float = CACHE_TTL_S) -> None:
        """Two scrapers within `keep_s` seconds get one text."""
        self.registry = CollectorRegistry()
        self.cache_ttl_s = cache_ttl_s
        self._sources: list[Callable[[], Iterable[MetricSample]]] = []
        self._samples: list[MetricSample] = []
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._last_render = (0.0, 0.0)
        self._render_lock = asyncio.Lock()
        self.registry.register(self)

    def counter(self, name: str) -> Counter:
        """A counter of the catalogue."""
        known = CATALOGUE[name]
        return Counter(name, known.help, known.labels, registry=self.registry)

    def histogram(self, name: str) -> Histogram:
        """A histogram of the catalogue."""
        known = CATALOGUE[name]
        return Histogram(
            name, known.help, known.labels, buckets=known.buckets, registry=self.registry
        )

    def add_source(self, source: Callable[[], Iterable[MetricSample]]) -> None:
        """Ask `source` at every scrape."""
        self._sources.append(source)

    async def render(self, accept: str, *, fresh: bool = False) -> tuple[bytes, str]:
        """The text in the form that the Accept header asks for, and its content type."""
        encode, media_type = choose_encoder(accept)
        async with self._render_lock:
            now = time.monotonic()
            at, text = self._cache.get(media_type, (-1e9, b""))
            if fresh or now - at >= self.cache_ttl_s:
                self._samples = [row for source in self._sources for row in source()]
                text = await asyncio.to_thread(encode, self.registry)
                series = sum(not line.startswith(b"#") for line in text.splitlines())
                self._last_render = (series, time.monotonic() - now)
                self._cache[media_type] = (now, text)
        return text, media_type

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        series, seconds = self._last_render
        own: list[MetricSample] = [
            ("hamlet_series", (), series),
            ("hamlet_render_seconds", (), seconds),
        ]
        for name, labels, value in (*self._samples, *own):
            family = families.get(name)
            if family is None:
                known = CATALOGUE[name]
                kind = CounterMetricFamily if known.type == "counter" else GaugeMetricFamily
                family = families[name] = kind(name, known.help, labels=known.labels)
            family.add_metric(labels, float(value))
        return families.values()
