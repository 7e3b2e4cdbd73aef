"""The exposition that Prometheus scrapes, rendered in a thread and cached for a second."""

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
"""A metric's name, its label values in the catalogue's order, and its current value."""
CACHE_TTL_S = 1.0


class Exposition(Collector):
    """Creates the metrics of the catalogue and renders them as text.

    Sources are read in the event loop, where their values do not change meanwhile. Rendering takes
    much longer and runs in a thread. A text is cached for `cache_ttl_s` seconds, so that two
    scrapers share it.
    """

    def __init__(self, cache_ttl_s: float = CACHE_TTL_S) -> None:
        self.registry = CollectorRegistry()
        self.cache_ttl_s = cache_ttl_s
        self._sources: list[Callable[[], Iterable[MetricSample]]] = []
        self._samples: list[MetricSample] = []
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._last_render = (0.0, 0.0)
        self._render_lock = asyncio.Lock()
        self.registry.register(self)

    def counter(self, name: str) -> Counter:
        """Create a counter of the catalogue. Raises KeyError for another name."""
        known = CATALOGUE[name]
        return Counter(name, known.help, known.labels, registry=self.registry)

    def histogram(self, name: str) -> Histogram:
        """Create a histogram of the catalogue. Raises KeyError for another name."""
        known = CATALOGUE[name]
        return Histogram(
            name, known.help, known.labels, buckets=known.buckets, registry=self.registry
        )

    def add_source(self, source: Callable[[], Iterable[MetricSample]]) -> None:
        """Read samples from `source` at every scrape."""
        self._sources.append(source)

    async def render(self, accept: str, *, fresh: bool = False) -> tuple[bytes, str]:
        """The text in the format of the Accept header, and its content type."""
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
