"""Metrics of the cutover: an observer of its features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from hamlet.migration import Arm, Cause, FeatureState
from hamlet.migration.model import STAGES, WHOLE
from hamlet.migration.tally import VERDICTS, Kind
from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.exposition import Exposition, Row


class CutoverMetrics:
    """Counts what the crossing does. Every label value comes from a closed set."""

    def __init__(self, exposition: Exposition, features: list[str]) -> None:
        counter, histogram = exposition.counter, exposition.histogram
        self._requests = counter("hamlet_cutover_requests_total")
        self._duration = histogram("hamlet_cutover_duration_seconds")
        self._first = histogram("hamlet_cutover_first_byte_seconds")
        self._rescues = counter("hamlet_cutover_rescues_total")
        self._comparisons = counter("hamlet_cutover_comparisons_total")
        self._dropped = counter("hamlet_cutover_shadow_dropped_total")
        self._transitions = counter("hamlet_cutover_transitions_total")
        self._states: dict[str, FeatureState] = {}
        exposition.reads(self._rows)
        for feature in features:
            self._zero(feature)

    def _zero(self, feature: str) -> None:
        """Counters exist before anything happens, so that rates of them do."""
        outcomes = CATALOGUE["hamlet_cutover_requests_total"].of(L.OUTCOME) or ()
        for arm in ("legacy", "new"):
            self._first.zero((feature, arm))
            self._duration.zero((feature, arm))
            for outcome in outcomes:
                self._requests.zero((feature, arm, outcome))
        for kind in get_args(Kind):
            for verdict in VERDICTS:
                self._comparisons.zero((feature, kind, verdict))
        for reason in ("status", "timeout", "exception"):
            self._rescues.zero((feature, reason))
        for reason in ("too_large", "busy", "budget"):
            self._dropped.zero((feature, reason))
        for stage in STAGES:
            for cause in get_args(Cause):
                self._transitions.zero((feature, stage, cause))

    def request(
        self, feature: str, arm: Arm, outcome: str, first_s: float | None, total_s: float
    ) -> None:
        self._requests.count((feature, arm, outcome))
        if outcome == "ok":
            of = (feature, arm)
            self._duration.observe(of, total_s)
            if first_s is not None:
                self._first.observe(of, first_s)

    def rescued(self, feature: str, reason: str) -> None:
        self._rescues.count((feature, reason))

    def compared(self, feature: str, kind: str, verdict: str) -> None:
        self._comparisons.count((feature, kind, verdict))

    def dropped(self, feature: str, reason: str) -> None:
        self._dropped.count((feature, reason))

    def stands(self, feature: str, state: FeatureState) -> None:
        self._states[feature] = state

    def moved(self, feature: str, to: str, cause: Cause) -> None:
        self._transitions.count((feature, to, cause))

    def _rows(self) -> Iterator[Row]:
        """Where features stand, read at a scrape."""
        for feature, state in self._states.items():
            for stage in STAGES:
                yield "hamlet_cutover_state", (feature, stage), stage == state.stage
            yield "hamlet_cutover_weight_ratio", (feature,), state.share_bp / WHOLE
