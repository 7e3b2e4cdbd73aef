"""The promotion gate: whether the evidence since the last transition allows a step up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.counters import FeatureCounters
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.migration.window import wilson_interval

# Shadow calls may fail this often: the same is assumed of hamlet1 where too little is known.
_MAX_FAILURE_RATIO = 0.01
_MIN_PROXIED_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica's own report; `skew_s` is its clock minus ours, in seconds."""

    url: str
    is_reachable: bool
    epoch: int = 0
    can_read_state: bool = False
    skew_s: float = 0.0


@dataclass(slots=True)
class Evidence:
    """The evidence about one feature since its last transition, over all replicas.

    `p95` is seconds by measure (`first`, `total`) and arm.
    """

    source: str
    counters: FeatureCounters = field(default_factory=FeatureCounters)
    replicas: list[ReplicaStatus] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    p95: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for the journal."""
        return {"source": self.source, **self.counters.to_dict(), "p95": self.p95}


def promotion_blockers(
    state: FeatureState,
    evidence: Evidence,
    config: CutoverConfig,
    document: RolloutDocument,
    now: float,
) -> list[str]:
    """Why a feature may not be promoted; empty if it may. Missing evidence blocks too.

    `now` is Unix seconds.
    """
    return [
        *_state_blockers(state, config, now),
        *(_evidence_blockers(evidence, config, document) if state.stage != "legacy" else ()),
        *_traffic_blockers(state, evidence.counters, config),
        *(f"the alert {name} is firing" for name in evidence.alerts),
    ]


def _state_blockers(state: FeatureState, config: CutoverConfig, now: float) -> Iterator[str]:
    if state.hold:
        yield f"held: {state.hold}"
    if state.cooldown_until > now:
        yield f"cools down for another {state.cooldown_until - now:.0f} s"
    waited = now - state.since
    if state.stage not in ("legacy", "proxy") and waited < config.gate.minutes * 60:
        yield f"has been at this step for {waited / 60:.0f} of {config.gate.minutes:g} minutes"


def _evidence_blockers(
    evidence: Evidence, config: CutoverConfig, document: RolloutDocument
) -> Iterator[str]:
    yield from evidence.problems
    if not any(replica.is_reachable for replica in evidence.replicas):
        yield "inconclusive: no replica answers"
    for replica in evidence.replicas:
        if not replica.is_reachable:
            yield f"inconclusive: {replica.url} does not answer"
        elif not replica.can_read_state:
            yield f"inconclusive: {replica.url} cannot read the state"
        elif replica.epoch != document.epoch:
            yield f"inconclusive: {replica.url} is at epoch {replica.epoch}, not {document.epoch}"
        elif abs(replica.skew_s) > config.gate.skew_s:
            yield f"inconclusive: the clock of {replica.url} is {replica.skew_s:+.0f} s off"


def _traffic_blockers(
    state: FeatureState, counters: FeatureCounters, config: CutoverConfig
) -> Iterator[str]:
    if state.stage == "proxy":
        proxied = counters.legacy["ok"]
        if proxied < _MIN_PROXIED_REQUESTS:
            yield f"{proxied} of {_MIN_PROXIED_REQUESTS} requests have been proxied"
    elif state.stage == "shadow":
        yield from _comparison_blockers(counters, config)
    elif state.stage in ("canary", "new"):
        if counters.evaluated_new < config.gate.requests:
            yield f"{counters.evaluated_new} of {config.gate.requests} requests on the new arm"
        legacy = counters.legacy["ok"] + counters.legacy["failed"]
        high = (
            wilson_interval(counters.legacy["failed"], legacy)[1]
            if legacy >= _MIN_PROXIED_REQUESTS
            else _MAX_FAILURE_RATIO
        )
        low = (
            wilson_interval(counters.bad_new, counters.evaluated_new)[0]
            if counters.evaluated_new
            else 0.0
        )
        if low > high + config.guard.error_excess:
            yield f"{counters.bad_new} of {counters.evaluated_new} went wrong on the new arm"


def _comparison_blockers(counters: FeatureCounters, config: CutoverConfig) -> Iterator[str]:
    if counters.comparisons < config.gate.comparisons:
        yield f"{counters.comparisons} of {config.gate.comparisons} comparisons"
    if count := counters.candidate["contract_mismatch"]:
        yield f"{count} answers broke the contract"
    failed = counters.candidate["candidate_failed"]
    if (
        counters.comparisons
        and wilson_interval(failed, counters.comparisons)[0] > _MAX_FAILURE_RATIO
    ):
        yield f"{failed} of {counters.comparisons} failed on the new arm"
    low, _ = counters.drift_excess()
    if counters.comparisons and low > config.guard.drift_excess:
        yield f"answers drift at least {low:.0%} more often than hamlet1's own"
