"""The promotion gate: what blocks a step up, and what opens it."""

import pytest

from hamlet.migration.gate import Evidence, ReplicaStatus, promotion_blockers
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from support.migration import cutover_config

CANARY = FeatureState(stage="canary", weight_bp=100)


def make_evidence(**counts) -> Evidence:
    """Evidence of one healthy replica, with counts by part of the counters."""
    evidence = Evidence("replicas", replicas=[ReplicaStatus("http://a", True, 3, True)])
    for part, values in counts.items():
        getattr(evidence.counters, part).update(values)
    return evidence


def blockers(state: FeatureState, evidence: Evidence, now: float = 10_000.0) -> list[str]:
    return promotion_blockers(state, evidence, cutover_config(), RolloutDocument(epoch=3), now)


def test_gate_needs_both_requests_and_time() -> None:
    assert blockers(CANARY, make_evidence(new={"ok": 300})) == []
    assert "requests on the new arm" in blockers(CANARY, make_evidence(new={"ok": 299}))[0]
    assert "of 10 minutes" in blockers(CANARY, make_evidence(new={"ok": 300}), now=599)[0]
    assert "went wrong" in blockers(CANARY, make_evidence(new={"ok": 290, "rescued": 20}))[0]


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ({"equal": 99, "control_failed": 50}, "comparisons"),
        ({"equal": 100, "contract_mismatch": 1}, "contract"),
        ({"equal": 100, "candidate_failed": 9}, "failed"),
        ({"equal": 100, "content_drift": 30}, "drift"),
    ],
)
def test_shadow_gate_needs_comparisons_without_findings(candidate, reason) -> None:
    shadow = FeatureState(stage="shadow")
    assert blockers(shadow, make_evidence(candidate={"equal": 100})) == []
    assert reason in blockers(shadow, make_evidence(candidate=candidate))[0]


@pytest.mark.parametrize(
    ("replica", "reason"),
    [
        (ReplicaStatus("http://b", False), "does not answer"),
        (ReplicaStatus("http://b", True, 3, False), "cannot read"),
        (ReplicaStatus("http://b", True, 2, True), "at epoch 2"),
        (ReplicaStatus("http://b", True, 3, True, skew_s=-7.0), "clock"),
    ],
)
def test_missing_or_contradictory_evidence_closes_the_gate(replica, reason) -> None:
    evidence = make_evidence(new={"ok": 300})
    evidence.replicas.append(replica)
    assert any(reason in blocker for blocker in blockers(CANARY, evidence))


def test_alerts_holds_and_cooldowns_close_the_gate() -> None:
    evidence = make_evidence(new={"ok": 300})
    evidence.alerts = ["HamletDown"]
    assert blockers(CANARY, evidence) == ["the alert HamletDown is firing"]
    on_hold = CANARY.model_copy(update={"hold": "lunch", "cooldown_until": 10_060.0})
    assert blockers(on_hold, make_evidence(new={"ok": 300})) == [
        "held: lunch",
        "cools down for another 60 s",
    ]
