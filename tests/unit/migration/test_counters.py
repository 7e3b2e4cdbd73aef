"""Counters: what counts as evidence, merging, and the interval of the drift."""

import pytest

from hamlet.migration.counters import FeatureCounters


def test_only_outcomes_of_the_server_are_evidence() -> None:
    counters = FeatureCounters()
    for outcome in ("ok", "failed", "rescued", "client_error", "cancelled"):
        counters.count_request("new", outcome)
    counters.count_comparison("candidate", "equal")
    counters.count_comparison("candidate", "control_failed")
    assert (counters.evaluated_new, counters.bad_new, counters.comparisons) == (3, 2, 1)


def test_counters_survive_the_way_to_other_processes_and_add_up() -> None:
    counters = FeatureCounters(epoch=4)
    counters.count_request("legacy", "ok")
    counters.count_comparison("reverse", "equal")
    counters.add_cost("new", 0.004)
    copy = FeatureCounters.from_dict(counters.to_dict())
    assert copy == counters
    merged = counters.merge(copy)
    assert (merged.epoch, merged.legacy["ok"], merged.reverse["equal"]) == (4, 2, 2)
    assert merged.mean_usd("new") == pytest.approx(0.004)


def test_drift_is_measured_over_hamlet1s_own_noise() -> None:
    counters = FeatureCounters()
    assert counters.drift_excess() == (-1.0, 1.0)
    counters.candidate.update(tolerated=160, content_drift=40)
    low, high = counters.drift_excess()
    assert low < 0.2 < high
    assert low > 0.1
    counters.noise.update(tolerated=160, content_drift=40)
    low, high = counters.drift_excess()
    assert low < 0 < high
