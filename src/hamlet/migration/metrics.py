"""The `hamlet_cutover_*` metrics. They exist only in a process that has a `cutover` section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from hamlet.migration.counters import VERDICTS, ComparisonKind
from hamlet.migration.rollout_document import (
    FULL_SHARE_BP,
    STAGES,
    Arm,
    FeatureState,
    TransitionCause,
)
from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.exposition import Exposition, MetricSample


class CutoverMetrics:
    """Counts the events of the migration. Every label value comes from a closed set."""

    def __init__(self, exposition: Exposition, features: list[str]) -> None:
        counter, histogram = exposition.counter, exposition.histogram
        self._requests = counter("hamlet_cutover_requests_total")
        self._duration = histogram("hamlet_cutover_duration_seconds")
        self._first_byte = histogram("hamlet_cutover_first_byte_seconds")
        self._rescues = counter("hamlet_cutover_rescues_total")
        self._comparisons = counter("hamlet_cutover_comparisons_total")
        self._dropped = counter("hamlet_cutover_shadow_dropped_total")
        self._transitions = counter("hamlet_cutover_transitions_total")
        self._states: dict[str, FeatureState] = {}
        exposition.add_source(self._collect_state_samples)
        for feature in features:
            self._create_series(feature)

    def _create_series(self, feature: str) -> None:
        """Create every series at zero, so that rates over them are defined from the start."""
        outcomes = CATALOGUE["hamlet_cutover_requests_total"].closed_values(L.OUTCOME) or ()
        for arm in ("legacy", "new"):
            self._first_byte.init_series((feature, arm))
            self._duration.init_series((feature, arm))
            for outcome in outcomes:
                self._requests.init_series((feature, arm, outcome))
        for kind in get_args(ComparisonKind):
            for verdict in VERDICTS:
                self._comparisons.init_series((feature, kind, verdict))
        for reason in ("status", "timeout", "exception"):
            self._rescues.init_series((feature, reason))
        for reason in ("too_large", "busy", "budget"):
            self._dropped.init_series((feature, reason))
        for stage in STAGES:
            for cause in get_args(TransitionCause):
                self._transitions.init_series((feature, stage, cause))

    def on_request_end(
        self, feature: str, arm: Arm, outcome: str, first_byte_s: float | None, total_s: float
    ) -> None:
        self._requests.inc((feature, arm, outcome))
        if outcome == "ok":
            labels = (feature, arm)
            self._duration.observe(labels, total_s)
            if first_byte_s is not None:
                self._first_byte.observe(labels, first_byte_s)

    def on_rescue(self, feature: str, reason: str) -> None:
        self._rescues.inc((feature, reason))

    def on_comparison(self, feature: str, kind: str, verdict: str) -> None:
        self._comparisons.inc((feature, kind, verdict))

    def on_shadow_drop(self, feature: str, reason: str) -> None:
        self._dropped.inc((feature, reason))

    def on_state_applied(self, feature: str, state: FeatureState) -> None:
        self._states[feature] = state

    def on_transition(self, feature: str, to: str, cause: TransitionCause) -> None:
        self._transitions.inc((feature, to, cause))

    def _collect_state_samples(self) -> Iterator[MetricSample]:
        """The state and share of every feature, read at each scrape."""
        for feature, state in self._states.items():
            for stage in STAGES:
                yield "hamlet_cutover_state", (feature, stage), stage == state.stage
            yield "hamlet_cutover_weight_ratio", (feature,), state.share_bp / FULL_SHARE_BP
