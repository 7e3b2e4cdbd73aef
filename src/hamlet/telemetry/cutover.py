"""Metrics of the cutover: an observer of its features."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hamlet.cutover import Arm, Cause, FeatureState
from hamlet.cutover.model import STAGES, WHOLE
from hamlet.cutover.tally import VERDICTS
from hamlet.telemetry import labels as L

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class CutoverMetrics:
    """Counts what the crossing does. Every label value comes from a closed set."""

    def __init__(self, registry: CollectorRegistry, features: list[str]) -> None:
        r, of = registry, L.FEATURE

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"hamlet_cutover_{name}", text, (of, *labels), registry=r)

        def seconds(name: str, text: str) -> Histogram:
            name = f"hamlet_cutover_{name}_seconds"
            return Histogram(name, text, (of, L.ARM), buckets=_SECONDS, registry=r)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"hamlet_cutover_{name}", text, (of, *labels), registry=r)

        self._requests = counter(
            "requests", "Requests by the arm that was to answer", L.ARM, L.OUTCOME
        )
        self._duration = seconds("duration", "From the request to the last byte of its answer")
        self._first = seconds("first_byte", "From the request to the first byte of its answer")
        self._rescues = counter(
            "rescues", "Requests that hamlet1 answered as the new arm could not", L.REASON
        )
        self._comparisons = counter(
            "comparisons", "Comparisons of either arm with hamlet1", L.KIND, L.VERDICT
        )
        self._dropped = counter("shadow_dropped", "Sampled requests that were not tried", L.REASON)
        self._transitions = counter("transitions", "Moves of features", L.TO, L.CAUSE)
        self._state = gauge("state", "1 for where a feature stands", L.STATE)
        self._weight = gauge("weight_ratio", "The new arm's share of users")
        # Looking a child up by its labels costs as much as all the rest of a crossing.
        self._bound: dict[tuple[str, str, str], tuple[Counter, Histogram, Histogram]] = {}
        for feature in features:
            self._zero(feature)

    def _zero(self, feature: str) -> None:
        """Counters exist before anything happens, so that rates of them do."""
        for arm in ("legacy", "new"):
            seconds = (self._first.labels(feature, arm), self._duration.labels(feature, arm))
            for outcome in ("ok", "failed", "rescued", "client_error", "cancelled"):
                counted = self._requests.labels(feature, arm, outcome)
                self._bound[feature, arm, outcome] = (counted, *seconds)
        for kind in ("candidate", "noise"):
            for verdict in VERDICTS:
                self._comparisons.labels(feature, kind, verdict)
        for reason in ("status", "timeout", "exception"):
            self._rescues.labels(feature, reason)
        for reason in ("too_large", "busy", "budget"):
            self._dropped.labels(feature, reason)
        for stage in STAGES:
            for cause in get_args(Cause):
                self._transitions.labels(feature, stage, cause)

    def request(
        self, feature: str, arm: Arm, outcome: str, first_s: float | None, total_s: float
    ) -> None:
        counted, first, total = self._bound[feature, arm, outcome]
        counted.inc()
        if outcome == "ok":
            total.observe(total_s)
            if first_s is not None:
                first.observe(first_s)

    def rescued(self, feature: str, reason: str) -> None:
        self._rescues.labels(feature, reason).inc()

    def compared(self, feature: str, kind: str, verdict: str) -> None:
        self._comparisons.labels(feature, kind, verdict).inc()

    def dropped(self, feature: str, reason: str) -> None:
        self._dropped.labels(feature, reason).inc()

    def stands(self, feature: str, state: FeatureState) -> None:
        for stage in STAGES:
            self._state.labels(feature, stage).set(stage == state.stage)
        self._weight.labels(feature).set(state.share_bp / WHOLE)

    def moved(self, feature: str, to: str, cause: Cause) -> None:
        self._transitions.labels(feature, to, cause).inc()
