"""Guardrails: what demotes or holds a feature, and what must not."""

import pytest

from hamlet.config.cutover import GuardConfig
from hamlet.migration.counters import FeatureCounters
from hamlet.migration.guardrails import find_violations
from hamlet.migration.rollout_document import FeatureState
from hamlet.migration.window import ArmWindow
from support.clock import ManualClock


def make_window(new: dict, legacy: dict, clock: ManualClock | None = None) -> ArmWindow:
    """A window with so many requests of each (outcome, total seconds)."""
    window = ArmWindow(clock or ManualClock())
    for arm, counts in (("new", new), ("legacy", legacy)):
        for (outcome, total_s), count in counts.items():
            for _ in range(count):
                window.record(arm, outcome, total_s / 2, total_s)
    return window


def violations(
    window: ArmWindow,
    stage: str = "canary",
    counters: FeatureCounters | None = None,
    loop_lag_s: float = 0.0,
) -> list[tuple[str, str]]:
    """(rule, action) of every violation."""
    state = FeatureState(stage=stage, weight_bp=500 if stage == "canary" else 0)
    found = find_violations(state, window, counters or FeatureCounters(), GuardConfig(), loop_lag_s)
    return [(violation.rule, violation.action) for violation in found]


def test_five_failures_within_ten_seconds_demote_and_four_do_not() -> None:
    clock = ManualClock()
    window = make_window({("rescued", 1): 3, ("failed", 1): 1}, {}, clock)
    assert violations(window) == []
    clock.now += 11
    window.record("new", "rescued", None, 1)
    assert violations(window) == []
    for _ in range(4):
        window.record("new", "rescued", None, 1)
    assert violations(window) == [("hard failures", "proxy")]


@pytest.mark.parametrize(
    ("bad", "total", "demotes"),
    [(2, 50, False), (3, 50, True), (5, 100, True), (10, 300, False), (11, 300, True)],
)
def test_error_rate_demotes_once_it_is_above_two_percent_with_confidence(
    bad, total, demotes
) -> None:
    """hamlet1 is assumed to fail in 1 % of requests, and the excess allowed is another 1 %.

    The lower bounds of the Wilson intervals are 1.1, 2.06, 2.15, 1.8 and 2.06 %.
    """
    clock = ManualClock()
    window = make_window({("failed", 1): bad, ("ok", 1): total - bad}, {}, clock)
    clock.now += 11
    assert violations(window) == ([("error excess", "proxy")] if demotes else [])


def test_errors_on_both_arms_are_not_excess() -> None:
    clock = ManualClock()
    counts = {("failed", 1): 20, ("ok", 1): 80}
    window = make_window(counts, counts, clock)
    clock.now += 11
    assert violations(window) == []


def test_client_errors_and_cancellations_violate_nothing() -> None:
    assert violations(make_window({("cancelled", 1): 500, ("client_error", 1): 500}, {})) == []


@pytest.mark.parametrize(
    ("new", "legacy", "rules"),
    [
        ((4.0, 100), (2.0, 100), ["slow first byte", "slow total"]),
        # First bytes at 1 s against 0.5 s: twice as slow, but not over half a second slower.
        ((2.0, 100), (1.0, 100), ["slow total"]),
        ((0.2, 100), (0.1, 100), []),
        ((9.0, 99), (1.0, 100), []),
    ],
    ids=["both", "total", "fast enough", "too few"],
)
def test_slow_arm_is_held_if_slow_in_ratio_and_in_seconds(new, legacy, rules) -> None:
    window = make_window({("ok", new[0]): new[1]}, {("ok", legacy[0]): legacy[1]})
    assert violations(window) == [(rule, "hold") for rule in rules]


def test_contract_mismatch_and_drift_over_noise_hold() -> None:
    counters = FeatureCounters()
    counters.candidate.update(equal=99, contract_mismatch=1)
    assert violations(ArmWindow(ManualClock()), "shadow", counters) == [("contract", "hold")]

    counters = FeatureCounters()
    counters.candidate.update(tolerated=160, content_drift=40)
    counters.noise.update(tolerated=40, content_drift=10)
    assert violations(ArmWindow(ManualClock()), "shadow", counters) == []
    counters.noise.clear()
    counters.noise.update(tolerated=300)
    assert violations(ArmWindow(ManualClock()), "shadow", counters) == [("drift", "hold")]


def test_low_quality_demotes_one_step_and_loop_lag_holds() -> None:
    window = ArmWindow(ManualClock())
    for i in range(100):
        window.record("new", "ok", 1, 1, i < 6)
        window.record("legacy", "ok", 1, 1, i < 3)
    assert violations(window) == [("poor answers", "step")]
    assert violations(ArmWindow(ManualClock()), loop_lag_s=0.6) == [("loop lag", "hold")]
    assert violations(ArmWindow(ManualClock()), stage="new", loop_lag_s=0.6) == []


def make_costs(legacy: tuple[float, int], new: tuple[float, int]) -> FeatureCounters:
    """Counters with (US dollars, count) of priced responses by arm."""
    counters = FeatureCounters()
    for arm, (usd, count) in (("legacy", legacy), ("new", new)):
        for _ in range(count):
            counters.add_cost(arm, usd)
    return counters


@pytest.mark.parametrize("stage", ["shadow", "canary", "new"])
def test_arm_that_costs_a_third_more_is_held(stage) -> None:
    window = ArmWindow(ManualClock())
    dearer = make_costs((0.001, 50), (0.00131, 50))
    assert violations(window, stage, dearer) == [("cost", "hold")]
    for legacy, new in (
        ((0.001, 50), (0.00129, 50)),
        ((0.001, 50), (0.01, 49)),
        ((0.0, 50), (0.0, 50)),
    ):
        assert violations(window, stage, make_costs(legacy, new)) == []
