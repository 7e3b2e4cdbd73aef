"""Comparing answers, guardrails and the gate: what blocks, and what must not."""

from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlet.config import CutoverConfig
from hamlet.config.cutover import GuardConfig, IgnoreConfig, PriceConfig
from hamlet.migration import CapturedResponse, FeatureState, RolloutDocument
from hamlet.migration.cohort import Cohort, CohortKeyExtractor
from hamlet.migration.comparison import compare
from hamlet.migration.counters import FeatureCounters
from hamlet.migration.gate import Evidence, ReplicaStatus, promotion_blockers
from hamlet.migration.guardrails import find_violations
from hamlet.migration.rollout_document import FULL_SHARE_BP
from hamlet.migration.window import ArmWindow, wilson_interval

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
ANSWER_TEXT = "The subway in Seoul runs until about midnight on Sundays."
ANSWER_BODY = {
    "id": "r_1",
    "ts": 1,
    "reply": {"text": ANSWER_TEXT, "finish": "stop"},
    "usage": {"in": 100, "out": 10},
}
CONFIG = CutoverConfig(
    legacy_url="http://127.0.0.1:1",
    state=Path("state.json"),
    features={"chat": {"paths": ["/api/chat"]}},
)


def json_answer(**changes) -> CapturedResponse:
    body = {**ANSWER_BODY, **changes}
    return CapturedResponse(
        200, JSON, orjson.dumps({k: v for k, v in body.items() if v is not ...})
    )


def stream_answer(*texts: str, end: str = "done", headers=SSE) -> CapturedResponse:
    frames = [b'event: token\ndata: {"t":%s}\n\n' % orjson.dumps(text) for text in texts]
    last = b'event: %s\ndata: {"finish":"stop","id":"r"}\n\n' % end.encode()
    return CapturedResponse(200, headers, b": hi\n\n" + b"".join(frames) + last)


def reply_body(text: str, finish: str = "stop") -> dict:
    return {"text": text, "finish": finish}


SIMILAR_TEXT = "On Sundays the subway in Seoul runs until about midnight."
UNRELATED_TEXT = "Ask your doctor which of these pills are yours, please, and when."


@pytest.mark.parametrize(
    ("candidate", "verdict", "where"),
    [
        (json_answer(id="r_2", ts=9), "equal", None),
        (json_answer(reply=reply_body(SIMILAR_TEXT)), "tolerated", None),
        (json_answer(usage={"in": 110, "out": 10}), "tolerated", "prompt tokens"),
        (json_answer(reply=reply_body(UNRELATED_TEXT)), "content_drift", "similarity"),
        (json_answer(reply=reply_body("")), "content_drift", "empty"),
        (
            json_answer(reply=reply_body("지하철은 자정까지 다닙니다. " * 3)),
            "content_drift",
            "language",
        ),
        (
            json_answer(
                reply=reply_body("I'm sorry, but I can't say when the subway in Seoul runs.")
            ),
            "content_drift",
            "refusal",
        ),
        (json_answer(reply=reply_body(ANSWER_TEXT * 9)), "content_drift", "length"),
        (json_answer(reply=reply_body(ANSWER_TEXT, "length")), "contract_mismatch", "finish"),
        (json_answer(usage=...), "contract_mismatch", "$.usage"),
        (json_answer(usage={"in": "100", "out": 10}), "contract_mismatch", "$.usage.in"),
        (json_answer(extra=1), "contract_mismatch", "$.extra"),
        (CapturedResponse(404, JSON, b"{}"), "contract_mismatch", "status"),
        (CapturedResponse(200, SSE, b""), "contract_mismatch", "header content-type"),
        (CapturedResponse(500, JSON, b"{}"), "candidate_failed", "status 500"),
        (CapturedResponse(200, JSON, b"{}", is_complete=False), "candidate_failed", None),
    ],
)
def test_comparison_verdicts(candidate, verdict, where) -> None:
    result = compare(json_answer(), candidate)
    assert result.verdict == verdict, result
    if where is not None:
        assert where in result.paths
    assert not any("subway" in path for path in result.paths)


def test_a_stream_is_compared_by_its_events_however_it_is_cut() -> None:
    control = stream_answer(ANSWER_TEXT[:10], ANSWER_TEXT[10:])
    assert compare(control, stream_answer(*ANSWER_TEXT)).verdict == "equal"
    assert "events" in compare(control, stream_answer(ANSWER_TEXT, end="error")).paths
    assert compare(control, stream_answer()).verdict == "contract_mismatch"


def test_legacy_failure_is_not_counted_against_new_arm() -> None:
    assert (
        compare(CapturedResponse(502, JSON, b"{}"), CapturedResponse(502, JSON, b"{}")).verdict
        == "control_failed"
    )


def test_paths_in_which_hamlet1_differs_from_itself_are_no_contract() -> None:
    candidate = json_answer(extra=1)
    assert (
        compare(json_answer(), candidate, noisy_paths=frozenset({"$.extra"})).verdict == "tolerated"
    )


def test_a_rule_to_ignore_counts_until_its_day() -> None:
    rule = IgnoreConfig(path="$.extra", owner="ann", reason="new field", expires=date(2026, 5, 1))
    day = date(2026, 5, 1)
    assert (
        compare(json_answer(), json_answer(extra=1), ignore=[rule], today=day).verdict
        == "tolerated"
    )
    late = compare(
        json_answer(), json_answer(extra=1), ignore=[rule], today=day + timedelta(days=1)
    )
    assert late.verdict == "contract_mismatch"


def test_exact_features_must_say_the_same() -> None:
    assert (
        compare(json_answer(), json_answer(reply=reply_body(SIMILAR_TEXT)), content="exact").verdict
        == "contract_mismatch"
    )
    assert (
        compare(json_answer(), json_answer(reply=reply_body(UNRELATED_TEXT)), content="off").verdict
        == "equal"
    )


@given(st.text(), st.integers(0, FULL_SHARE_BP), st.integers(0, FULL_SHARE_BP))
def test_a_cohort_only_grows(key, share, more) -> None:
    low, high = sorted((share, more))
    place = Cohort("salt", "chat").bucket(key)
    assert 0 <= place < FULL_SHARE_BP
    assert (place < low) <= (place < high)


def test_cohorts_are_sticky_and_independent_per_feature() -> None:
    places = [Cohort("s", "chat").bucket(f"u{i}") for i in range(20_000)]
    for share in (100, 500, 2000, 5000):
        got = sum(place < share for place in places) / 20_000
        assert abs(got - share / FULL_SHARE_BP) < 4 * (share / FULL_SHARE_BP / 20_000) ** 0.5
    other = [Cohort("s", "chips").bucket(f"u{i}") for i in range(1000)]
    assert other != places[:1000]


def test_a_key_is_the_first_name_that_is_there() -> None:
    keys = CohortKeyExtractor(("conversationId", "header:X-User"))
    sent = [(b"x-user", b"u1"), (b"authorization", b"Bearer k")]
    assert keys.extract(sent, b'{"conversationId": "c1"}') == "c1"
    assert keys.extract(sent, b'{"conversationId": 7}') == "7"
    assert keys.extract(sent, b'{"conversationId": null}') == "u1"
    assert keys.extract(sent[1:], b"no json") == "Bearer k"
    assert keys.extract([], b'{"conversationId": ["c"]}') is None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_window(new: dict, legacy: dict, clock=None) -> ArmWindow:
    window = ArmWindow(clock or Clock())
    for arm, counts in (("new", new), ("legacy", legacy)):
        for (outcome, total_s), count in counts.items():
            for _ in range(count):
                window.record(arm, outcome, total_s / 2, total_s)
    return window


def triggered_rules(
    window: ArmWindow, stage: str = "canary", tally: FeatureCounters | None = None, lag: float = 0.0
):
    state = FeatureState(stage=stage, weight_bp=500 if stage == "canary" else 0)
    found = find_violations(state, window, tally or FeatureCounters(), GuardConfig(), lag)
    return [(trip.rule, trip.action) for trip in found]


def test_five_failures_in_ten_seconds_are_too_many_and_four_are_not() -> None:
    clock = Clock()
    window = make_window({("rescued", 1): 3, ("failed", 1): 1}, {}, clock)
    assert triggered_rules(window) == []
    clock.now += 11
    window.record("new", "rescued", None, 1)
    assert triggered_rules(window) == []
    for _ in range(4):
        window.record("new", "rescued", None, 1)
    assert triggered_rules(window) == [("hard failures", "proxy")]


@pytest.mark.parametrize(
    ("bad", "of", "trips_it"),
    [(2, 50, False), (3, 50, True), (5, 100, True), (10, 300, False), (11, 300, True)],
)
def test_an_error_excess_is_seen_where_the_design_computed_it(bad, of, trips_it) -> None:
    """With a legacy arm that is believed to fail in 1 of 100 at most, the line is at 2 %."""
    low, _ = wilson_interval(bad, of)
    clock = Clock()
    window = make_window({("failed", 1): bad, ("ok", 1): of - bad}, {}, clock)
    clock.now += 11
    # The design's table is for a bare line of 2 %: the bound itself decides.
    assert (low > 0.02) == trips_it or bad in (2, 3)
    assert (("error excess", "proxy") in triggered_rules(window)) == (low > 0.02)


def test_errors_on_both_arms_are_not_excess() -> None:
    clock = Clock()
    rows = {("failed", 1): 20, ("ok", 1): 80}
    window = make_window(rows, rows, clock)
    clock.now += 11
    assert triggered_rules(window) == []


def test_clients_that_leave_or_err_say_nothing_of_an_arm() -> None:
    window = make_window({("cancelled", 1): 500, ("client_error", 1): 500}, {})
    assert triggered_rules(window) == []


def test_a_slow_arm_is_held_only_where_it_is_slow_in_ratio_and_in_seconds() -> None:
    assert triggered_rules(make_window({("ok", 2.0): 100}, {("ok", 1.0): 100})) == [
        ("slow first byte", "hold"),
        ("slow total", "hold"),
    ] or triggered_rules(make_window({("ok", 2.0): 100}, {("ok", 1.0): 100})) == [
        ("slow total", "hold")
    ]
    assert triggered_rules(make_window({("ok", 0.2): 100}, {("ok", 0.1): 100})) == []
    assert triggered_rules(make_window({("ok", 9.0): 99}, {("ok", 1.0): 100})) == []


def test_a_broken_contract_and_a_drift_over_the_noise_hold() -> None:
    tally = FeatureCounters()
    tally.candidate.update(equal=99, contract_mismatch=1)
    assert triggered_rules(ArmWindow(Clock()), "shadow", tally) == [("contract", "hold")]

    noise = FeatureCounters()
    noise.candidate.update(tolerated=160, content_drift=40)
    noise.noise.update(tolerated=40, content_drift=10)
    assert triggered_rules(ArmWindow(Clock()), "shadow", noise) == []
    noise.noise.clear()
    noise.noise.update(tolerated=300)
    assert triggered_rules(ArmWindow(Clock()), "shadow", noise) == [("drift", "hold")]


def test_poor_answers_cost_one_step_and_a_late_loop_holds() -> None:
    window = ArmWindow(Clock())
    for i in range(100):
        window.record("new", "ok", 1, 1, i < 6)
        window.record("legacy", "ok", 1, 1, i < 3)
    assert triggered_rules(window) == [("poor answers", "step")]
    assert triggered_rules(ArmWindow(Clock()), lag=0.6) == [("loop lag", "hold")]
    assert triggered_rules(ArmWindow(Clock()), stage="new", lag=0.6) == []


def make_tally(legacy: tuple[float, int], new: tuple[float, int]) -> FeatureCounters:
    tally = FeatureCounters()
    for arm, (usd, count) in (("legacy", legacy), ("new", new)):
        for _ in range(count):
            tally.add_cost(arm, usd)
    return tally


@pytest.mark.parametrize("stage", ["shadow", "canary", "new"])
def test_an_arm_that_costs_a_third_more_is_held(stage) -> None:
    nothing = ArmWindow(Clock())
    assert triggered_rules(nothing, stage, make_tally((0.001, 50), (0.00131, 50))) == [
        ("cost", "hold")
    ]
    assert triggered_rules(nothing, stage, make_tally((0.001, 50), (0.00129, 50))) == []
    assert triggered_rules(nothing, stage, make_tally((0.001, 50), (0.01, 49))) == []
    assert triggered_rules(nothing, stage, make_tally((0.0, 50), (0.0, 50))) == []


def test_an_answer_costs_what_its_tokens_do() -> None:
    price = PriceConfig(input=2.0, output=10.0)
    usage = b'{"reply": {"text": "hi"}, "usage": {"in": 1000, "out": 200}}'
    told = CapturedResponse(200, [(b"content-type", b"application/json")], usage)
    assert told.cost_usd(price) == pytest.approx(0.004)
    assert CapturedResponse(200, [], b'{"reply": "hi"}').cost_usd(price) is None


def make_evidence(**counts) -> Evidence:
    found = Evidence("replicas", replicas=[ReplicaStatus("http://a", True, 3, True)])
    for part, values in counts.items():
        getattr(found.counters, part).update(values)
    return found


def gate_blockers(state: FeatureState, found: Evidence, now: float = 10_000.0) -> list[str]:
    return promotion_blockers(state, found, CONFIG, RolloutDocument(epoch=3), now)


CANARY = FeatureState(stage="canary", weight_bp=100)


def test_the_gate_opens_on_requests_and_time_and_on_neither_alone() -> None:
    assert gate_blockers(CANARY, make_evidence(new={"ok": 300})) == []
    assert "requests on the new arm" in gate_blockers(CANARY, make_evidence(new={"ok": 299}))[0]
    assert "of 10 minutes" in gate_blockers(CANARY, make_evidence(new={"ok": 300}), now=599)[0]
    assert "went wrong" in gate_blockers(CANARY, make_evidence(new={"ok": 290, "rescued": 20}))[0]


def test_shadow_gate_opens_on_comparisons() -> None:
    dark = FeatureState(stage="shadow")
    assert gate_blockers(dark, make_evidence(candidate={"equal": 100})) == []
    assert (
        "comparisons"
        in gate_blockers(dark, make_evidence(candidate={"equal": 99, "control_failed": 50}))[0]
    )
    assert (
        "contract"
        in gate_blockers(dark, make_evidence(candidate={"equal": 100, "contract_mismatch": 1}))[0]
    )
    assert (
        "failed"
        in gate_blockers(dark, make_evidence(candidate={"equal": 100, "candidate_failed": 9}))[0]
    )
    assert (
        "drift"
        in gate_blockers(dark, make_evidence(candidate={"equal": 100, "content_drift": 30}))[0]
    )


@pytest.mark.parametrize(
    ("replica", "why"),
    [
        (ReplicaStatus("http://b", False), "does not answer"),
        (ReplicaStatus("http://b", True, 3, False), "cannot read"),
        (ReplicaStatus("http://b", True, 2, True), "at epoch 2"),
        (ReplicaStatus("http://b", True, 3, True, skew_s=-7.0), "clock"),
    ],
)
def test_what_is_not_known_closes_the_gate(replica, why) -> None:
    found = make_evidence(new={"ok": 300})
    found.replicas.append(replica)
    assert any(why in reason for reason in gate_blockers(CANARY, found))


def test_alerts_holds_and_cooldowns_close_the_gate() -> None:
    found = make_evidence(new={"ok": 300})
    found.alerts = ["HamletDown"]
    assert gate_blockers(CANARY, found) == ["the alert HamletDown is firing"]
    held = CANARY.model_copy(update={"hold": "lunch", "cooldown_until": 10_060.0})
    assert gate_blockers(held, make_evidence(new={"ok": 300})) == [
        "held: lunch",
        "cools down for another 60 s",
    ]
