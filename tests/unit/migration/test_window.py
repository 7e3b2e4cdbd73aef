"""The sliding window of both arms, and the statistics over it."""

import pytest

from hamlet.migration.window import ArmWindow, quantile, wilson_interval


def test_recent_requests_are_those_within_the_window() -> None:
    now = 1000.0
    window = ArmWindow(lambda: now)
    window.record("new", "ok", 0.5, 1.0)
    now += 60
    window.record("new", "failed", None, 2.0, False)
    window.record("legacy", "ok", 0.5, 1.0)
    assert [row.outcome for row in window.recent("new", 100).samples] == ["failed", "ok"]
    recent = window.recent("new", 10)
    assert (recent.evaluated, recent.bad, recent.low_quality_counts()) == (1, 1, (0, 1))
    assert (recent.first_byte_times_s(), recent.total_times_s()) == ([], [])
    window.clear()
    assert window.recent("new", 100).samples == []


def test_client_errors_and_cancellations_are_no_evidence() -> None:
    window = ArmWindow(lambda: 0.0)
    for outcome in ("client_error", "cancelled"):
        window.record("new", outcome, 0.5, 1.0)
    assert window.recent("new", 1).evaluated == 0


@pytest.mark.parametrize(
    ("bad", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval(bad, total, low, high) -> None:
    assert wilson_interval(bad, total) == pytest.approx((low, high), abs=1e-4)


def test_quantile_by_nearest_rank() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [quantile(values, q) for q in (0.0, 0.5, 0.95, 1.0)] == [1, 51, 96, 100]
    assert quantile([], 0.95) is None
