"""Whether a feature may be raised by one step, argued with what was seen since it came there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.model import Document, FeatureState
from hamlet.migration.tally import Tally
from hamlet.migration.window import wilson

# Below this share of failures, the new arm in the dark is as good as what it is to replace.
_FAILURES = 0.01
_LEAST_PASSED = 20


@dataclass(frozen=True, slots=True)
class Replica:
    """What one hamlet says of itself; `skew_s` is how far its clock is from ours."""

    url: str
    answers: bool
    epoch: int = 0
    readable: bool = False
    skew_s: float = 0.0


@dataclass(slots=True)
class Evidence:
    """What is known of one feature since its last move, over all replicas."""

    source: str
    tally: Tally = field(default_factory=Tally)
    replicas: list[Replica] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    p95: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As plain data, for the journal."""
        return {"source": self.source, **self.tally.told(), "p95": self.p95}


def closed(
    state: FeatureState, evidence: Evidence, config: CutoverConfig, document: Document, now: float
) -> list[str]:
    """Why the gate is closed; nothing if it is open. What is not known closes it too."""
    return [
        *_standing(state, config, now),
        *(_known(evidence, config, document) if state.stage != "legacy" else ()),
        *_seen(state, evidence.tally, config),
        *(f"the alert {name} is firing" for name in evidence.alerts),
    ]


def _standing(state: FeatureState, config: CutoverConfig, now: float) -> Iterator[str]:
    if state.hold:
        yield f"held: {state.hold}"
    if state.cooldown_until > now:
        yield f"cools down for another {state.cooldown_until - now:.0f} s"
    waited = now - state.since
    if state.stage not in ("legacy", "proxy") and waited < config.gate.minutes * 60:
        yield f"is there for {waited / 60:.0f} of {config.gate.minutes:g} minutes"


def _known(evidence: Evidence, config: CutoverConfig, document: Document) -> Iterator[str]:
    yield from evidence.problems
    if not any(replica.answers for replica in evidence.replicas):
        yield "inconclusive: no replica answers"
    for replica in evidence.replicas:
        if not replica.answers:
            yield f"inconclusive: {replica.url} does not answer"
        elif not replica.readable:
            yield f"inconclusive: {replica.url} cannot read the state"
        elif replica.epoch != document.epoch:
            yield f"inconclusive: {replica.url} is at epoch {replica.epoch}, not {document.epoch}"
        elif abs(replica.skew_s) > config.gate.skew_s:
            yield f"inconclusive: the clock of {replica.url} is {replica.skew_s:+.0f} s off"


def _seen(state: FeatureState, tally: Tally, config: CutoverConfig) -> Iterator[str]:
    if state.stage == "proxy":
        passed = tally.legacy["ok"]
        if passed < _LEAST_PASSED:
            yield f"{passed} of {_LEAST_PASSED} requests have passed through"
    elif state.stage == "shadow":
        yield from _compared(tally, config)
    elif state.stage in ("canary", "new"):
        if tally.judged_new < config.gate.requests:
            yield f"{tally.judged_new} of {config.gate.requests} requests on the new arm"
        legacy = tally.legacy["ok"] + tally.legacy["failed"]
        high = wilson(tally.legacy["failed"], legacy)[1] if legacy >= _LEAST_PASSED else _FAILURES
        low = wilson(tally.bad_new, tally.judged_new)[0] if tally.judged_new else 0.0
        if low > high + config.guard.error_excess:
            yield f"{tally.bad_new} of {tally.judged_new} went wrong on the new arm"


def _compared(tally: Tally, config: CutoverConfig) -> Iterator[str]:
    if tally.compared < config.gate.comparisons:
        yield f"{tally.compared} of {config.gate.comparisons} comparisons"
    if count := tally.candidate["contract_mismatch"]:
        yield f"{count} answers broke the contract"
    failed = tally.candidate["candidate_failed"]
    if tally.compared and wilson(failed, tally.compared)[0] > _FAILURES:
        yield f"{failed} of {tally.compared} failed on the new arm"
    low, _ = tally.drift_excess()
    if tally.compared and low > config.guard.drift_excess:
        yield f"answers drift at least {low:.0%} more often than hamlet1's own"
