"""Comparing answers, guardrails and the gate: what blocks, and what must not."""

from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlet.config import CutoverConfig
from hamlet.config.cutover import GuardConfig, IgnoreConfig, PriceConfig
from hamlet.migration import Answer, Document, FeatureState
from hamlet.migration.cohort import Cohort, KeyReader
from hamlet.migration.comparison import compare
from hamlet.migration.gate import Evidence, Replica, closed
from hamlet.migration.guardrails import trips
from hamlet.migration.model import WHOLE
from hamlet.migration.tally import Tally
from hamlet.migration.window import Window, wilson

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
SAID = "The subway in Seoul runs until about midnight on Sundays."
TOLD = {
    "id": "r_1",
    "ts": 1,
    "reply": {"text": SAID, "finish": "stop"},
    "usage": {"in": 100, "out": 10},
}
CONFIG = CutoverConfig(
    legacy_url="http://127.0.0.1:1",
    state=Path("state.json"),
    features={"chat": {"paths": ["/api/chat"]}},
)


def whole(**changes) -> Answer:
    body = {**TOLD, **changes}
    return Answer(200, JSON, orjson.dumps({k: v for k, v in body.items() if v is not ...}))


def stream(*texts: str, end: str = "done", headers=SSE) -> Answer:
    frames = [b'event: token\ndata: {"t":%s}\n\n' % orjson.dumps(text) for text in texts]
    last = b'event: %s\ndata: {"finish":"stop","id":"r"}\n\n' % end.encode()
    return Answer(200, headers, b": hi\n\n" + b"".join(frames) + last)


def reply(text: str, finish: str = "stop") -> dict:
    return {"text": text, "finish": finish}


CLOSE = "On Sundays the subway in Seoul runs until about midnight."
FAR = "Ask your doctor which of these pills are yours, please, and when."


@pytest.mark.parametrize(
    ("candidate", "verdict", "where"),
    [
        (whole(id="r_2", ts=9), "equal", None),
        (whole(reply=reply(CLOSE)), "tolerated", None),
        (whole(usage={"in": 110, "out": 10}), "tolerated", "prompt tokens"),
        (whole(reply=reply(FAR)), "content_drift", "similarity"),
        (whole(reply=reply("")), "content_drift", "empty"),
        (whole(reply=reply("지하철은 자정까지 다닙니다. " * 3)), "content_drift", "language"),
        (
            whole(reply=reply("I'm sorry, but I can't say when the subway in Seoul runs.")),
            "content_drift",
            "refusal",
        ),
        (whole(reply=reply(SAID * 9)), "content_drift", "length"),
        (whole(reply=reply(SAID, "length")), "contract_mismatch", "finish"),
        (whole(usage=...), "contract_mismatch", "$.usage"),
        (whole(usage={"in": "100", "out": 10}), "contract_mismatch", "$.usage.in"),
        (whole(extra=1), "contract_mismatch", "$.extra"),
        (Answer(404, JSON, b"{}"), "contract_mismatch", "status"),
        (Answer(200, SSE, b""), "contract_mismatch", "header content-type"),
        (Answer(500, JSON, b"{}"), "candidate_failed", "status 500"),
        (Answer(200, JSON, b"{}", whole=False), "candidate_failed", None),
    ],
)
def test_each_difference_has_its_verdict(candidate, verdict, where) -> None:
    result = compare(whole(), candidate)
    assert result.verdict == verdict, result
    if where is not None:
        assert where in result.paths
    assert not any("subway" in path for path in result.paths)


def test_a_stream_is_compared_by_its_events_however_it_is_cut() -> None:
    control = stream(SAID[:10], SAID[10:])
    assert compare(control, stream(*SAID)).verdict == "equal"
    assert "events" in compare(control, stream(SAID, end="error")).paths
    assert compare(control, stream()).verdict == "contract_mismatch"


def test_what_hamlet1_does_not_answer_says_nothing_of_hamlet() -> None:
    assert compare(Answer(502, JSON, b"{}"), Answer(502, JSON, b"{}")).verdict == "control_failed"


def test_paths_in_which_hamlet1_differs_from_itself_are_no_contract() -> None:
    candidate = whole(extra=1)
    assert compare(whole(), candidate, noisy=frozenset({"$.extra"})).verdict == "tolerated"


def test_a_rule_to_ignore_counts_until_its_day() -> None:
    rule = IgnoreConfig(path="$.extra", owner="ann", reason="new field", expires=date(2026, 5, 1))
    day = date(2026, 5, 1)
    assert compare(whole(), whole(extra=1), ignore=[rule], today=day).verdict == "tolerated"
    late = compare(whole(), whole(extra=1), ignore=[rule], today=day + timedelta(days=1))
    assert late.verdict == "contract_mismatch"


def test_exact_features_must_say_the_same() -> None:
    assert (
        compare(whole(), whole(reply=reply(CLOSE)), content="exact").verdict == "contract_mismatch"
    )
    assert compare(whole(), whole(reply=reply(FAR)), content="off").verdict == "equal"


@given(st.text(), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_a_cohort_only_grows(key, share, more) -> None:
    low, high = sorted((share, more))
    place = Cohort("salt", "chat").bucket(key)
    assert 0 <= place < WHOLE
    assert (place < low) <= (place < high)


def test_shares_are_kept_and_features_are_drawn_apart() -> None:
    places = [Cohort("s", "chat").bucket(f"u{i}") for i in range(20_000)]
    for share in (100, 500, 2000, 5000):
        got = sum(place < share for place in places) / 20_000
        assert abs(got - share / WHOLE) < 4 * (share / WHOLE / 20_000) ** 0.5
    other = [Cohort("s", "chips").bucket(f"u{i}") for i in range(1000)]
    assert other != places[:1000]


def test_a_key_is_the_first_name_that_is_there() -> None:
    keys = KeyReader(("conversationId", "header:X-User"))
    sent = [(b"x-user", b"u1"), (b"authorization", b"Bearer k")]
    assert keys.key(sent, b'{"conversationId": "c1"}') == "c1"
    assert keys.key(sent, b'{"conversationId": 7}') == "7"
    assert keys.key(sent, b'{"conversationId": null}') == "u1"
    assert keys.key(sent[1:], b"no json") == "Bearer k"
    assert keys.key([], b'{"conversationId": ["c"]}') is None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def filled(new: dict, legacy: dict, clock=None) -> Window:
    window = Window(clock or Clock())
    for arm, counts in (("new", new), ("legacy", legacy)):
        for (outcome, total_s), count in counts.items():
            for _ in range(count):
                window.add(arm, outcome, total_s / 2, total_s)
    return window


def rules(window: Window, stage: str = "canary", tally: Tally | None = None, lag: float = 0.0):
    state = FeatureState(stage=stage, weight_bp=500 if stage == "canary" else 0)
    found = trips(state, window, tally or Tally(), GuardConfig(), lag)
    return [(trip.rule, trip.action) for trip in found]


def test_five_failures_in_ten_seconds_are_too_many_and_four_are_not() -> None:
    clock = Clock()
    window = filled({("rescued", 1): 3, ("failed", 1): 1}, {}, clock)
    assert rules(window) == []
    clock.now += 11
    window.add("new", "rescued", None, 1)
    assert rules(window) == []
    for _ in range(4):
        window.add("new", "rescued", None, 1)
    assert rules(window) == [("hard failures", "proxy")]


@pytest.mark.parametrize(
    ("bad", "of", "trips_it"),
    [(2, 50, False), (3, 50, True), (5, 100, True), (10, 300, False), (11, 300, True)],
)
def test_an_error_excess_is_seen_where_the_design_computed_it(bad, of, trips_it) -> None:
    """With a legacy arm that is believed to fail in 1 of 100 at most, the line is at 2 %."""
    low, _ = wilson(bad, of)
    clock = Clock()
    window = filled({("failed", 1): bad, ("ok", 1): of - bad}, {}, clock)
    clock.now += 11
    # The design's table is for a bare line of 2 %: the bound itself decides.
    assert (low > 0.02) == trips_it or bad in (2, 3)
    assert (("error excess", "proxy") in rules(window)) == (low > 0.02)


def test_what_both_arms_suffer_is_nobodys_excess() -> None:
    clock = Clock()
    rows = {("failed", 1): 20, ("ok", 1): 80}
    window = filled(rows, rows, clock)
    clock.now += 11
    assert rules(window) == []


def test_clients_that_leave_or_err_say_nothing_of_an_arm() -> None:
    window = filled({("cancelled", 1): 500, ("client_error", 1): 500}, {})
    assert rules(window) == []


def test_a_slow_arm_is_held_only_where_it_is_slow_in_ratio_and_in_seconds() -> None:
    assert rules(filled({("ok", 2.0): 100}, {("ok", 1.0): 100})) == [
        ("slow first byte", "hold"),
        ("slow total", "hold"),
    ] or rules(filled({("ok", 2.0): 100}, {("ok", 1.0): 100})) == [("slow total", "hold")]
    assert rules(filled({("ok", 0.2): 100}, {("ok", 0.1): 100})) == []
    assert rules(filled({("ok", 9.0): 99}, {("ok", 1.0): 100})) == []


def test_a_broken_contract_and_a_drift_over_the_noise_hold() -> None:
    tally = Tally()
    tally.candidate.update(equal=99, contract_mismatch=1)
    assert rules(Window(Clock()), "shadow", tally) == [("contract", "hold")]

    noise = Tally()
    noise.candidate.update(tolerated=160, content_drift=40)
    noise.noise.update(tolerated=40, content_drift=10)
    assert rules(Window(Clock()), "shadow", noise) == []
    noise.noise.clear()
    noise.noise.update(tolerated=300)
    assert rules(Window(Clock()), "shadow", noise) == [("drift", "hold")]


def test_poor_answers_cost_one_step_and_a_late_loop_holds() -> None:
    window = Window(Clock())
    for i in range(100):
        window.add("new", "ok", 1, 1, i < 6)
        window.add("legacy", "ok", 1, 1, i < 3)
    assert rules(window) == [("poor answers", "step")]
    assert rules(Window(Clock()), lag=0.6) == [("loop lag", "hold")]
    assert rules(Window(Clock()), stage="new", lag=0.6) == []


def spent(legacy: tuple[float, int], new: tuple[float, int]) -> Tally:
    tally = Tally()
    for arm, (usd, count) in (("legacy", legacy), ("new", new)):
        for _ in range(count):
            tally.spent(arm, usd)
    return tally


@pytest.mark.parametrize("stage", ["shadow", "canary", "new"])
def test_an_arm_that_costs_a_third_more_is_held(stage) -> None:
    nothing = Window(Clock())
    assert rules(nothing, stage, spent((0.001, 50), (0.00131, 50))) == [("cost", "hold")]
    assert rules(nothing, stage, spent((0.001, 50), (0.00129, 50))) == []
    assert rules(nothing, stage, spent((0.001, 50), (0.01, 49))) == []
    assert rules(nothing, stage, spent((0.0, 50), (0.0, 50))) == []


def test_an_answer_costs_what_its_tokens_do() -> None:
    price = PriceConfig(input=2.0, output=10.0)
    usage = b'{"reply": {"text": "hi"}, "usage": {"in": 1000, "out": 200}}'
    told = Answer(200, [(b"content-type", b"application/json")], usage)
    assert told.usd(price) == pytest.approx(0.004)
    assert Answer(200, [], b'{"reply": "hi"}').usd(price) is None


def evidence(**counts) -> Evidence:
    found = Evidence("replicas", replicas=[Replica("http://a", True, 3, True)])
    for part, values in counts.items():
        getattr(found.tally, part).update(values)
    return found


def gate(state: FeatureState, found: Evidence, now: float = 10_000.0) -> list[str]:
    return closed(state, found, CONFIG, Document(epoch=3), now)


CANARY = FeatureState(stage="canary", weight_bp=100)


def test_the_gate_opens_on_requests_and_time_and_on_neither_alone() -> None:
    assert gate(CANARY, evidence(new={"ok": 300})) == []
    assert "requests on the new arm" in gate(CANARY, evidence(new={"ok": 299}))[0]
    assert "of 10 minutes" in gate(CANARY, evidence(new={"ok": 300}), now=599)[0]
    assert "went wrong" in gate(CANARY, evidence(new={"ok": 290, "rescued": 20}))[0]


def test_the_gate_out_of_the_dark_opens_on_comparisons() -> None:
    dark = FeatureState(stage="shadow")
    assert gate(dark, evidence(candidate={"equal": 100})) == []
    assert "comparisons" in gate(dark, evidence(candidate={"equal": 99, "control_failed": 50}))[0]
    assert "contract" in gate(dark, evidence(candidate={"equal": 100, "contract_mismatch": 1}))[0]
    assert "failed" in gate(dark, evidence(candidate={"equal": 100, "candidate_failed": 9}))[0]
    assert "drift" in gate(dark, evidence(candidate={"equal": 100, "content_drift": 30}))[0]


@pytest.mark.parametrize(
    ("replica", "why"),
    [
        (Replica("http://b", False), "does not answer"),
        (Replica("http://b", True, 3, False), "cannot read"),
        (Replica("http://b", True, 2, True), "at epoch 2"),
        (Replica("http://b", True, 3, True, skew_s=-7.0), "clock"),
    ],
)
def test_what_is_not_known_closes_the_gate(replica, why) -> None:
    found = evidence(new={"ok": 300})
    found.replicas.append(replica)
    assert any(why in reason for reason in gate(CANARY, found))


def test_alerts_holds_and_cooldowns_close_the_gate() -> None:
    found = evidence(new={"ok": 300})
    found.alerts = ["HamletDown"]
    assert gate(CANARY, found) == ["the alert HamletDown is firing"]
    held = CANARY.model_copy(update={"hold": "lunch", "cooldown_until": 10_060.0})
    assert gate(held, evidence(new={"ok": 300})) == ["held: lunch", "cools down for another 60 s"]
