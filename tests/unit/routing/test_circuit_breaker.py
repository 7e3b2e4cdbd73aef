"""When a breaker opens, and how it lets a deployment back in."""

import random

import pytest

from hamlet.routing.adaptive_throttle import AdaptiveThrottle
from hamlet.routing.circuit_breaker import CircuitBreaker
from hamlet.routing.retry_budget import RetryBudget


def make_breaker() -> CircuitBreaker:
    return CircuitBreaker(random.Random(1))


def test_opens_after_three_failures_in_a_row() -> None:
    it = make_breaker()
    it.record_failure(1.0)
    it.record_failure(2.0)
    it.record_success(3.0)
    it.record_failure(4.0)
    it.record_failure(5.0)
    assert it.state(5.0) == "closed"
    it.record_failure(6.0)
    assert (it.state(6.0), it.reason) == ("open", "failures")
    assert 15.0 <= it.open_until <= 17.0


def test_opens_after_five_failures_among_ten_within_a_minute() -> None:
    it = make_breaker()
    for second in range(10):
        it.record_failure(float(second)) if second % 2 == 0 else it.record_success(float(second))
    assert it.is_tripped
    slow = make_breaker()
    for second in range(10):
        at = second * 20.0
        slow.record_failure(at) if second % 2 == 0 else slow.record_success(at)
    assert not slow.is_tripped


def test_partial_failure_has_half_weight() -> None:
    it = make_breaker()
    for second in range(5):
        it.record_failure(float(second), weight=0.5)
    assert not it.is_tripped
    it.record_failure(6.0, weight=0.5)
    assert it.is_tripped


def test_stays_open_longer_each_time_in_a_row() -> None:
    it, now, spans = make_breaker(), 0.0, []
    for _ in range(8):
        while not it.is_tripped or now >= it.open_until:
            it.record_failure(now)
        spans.append(it.open_until - now)
        now = it.open_until
    assert [round(span / 10) for span in spans[:4]] == [1, 2, 4, 8]
    assert max(spans) <= 330.0


def test_trip_count_decays_each_healthy_minute() -> None:
    it = make_breaker()
    for _ in range(3):
        it.record_failure(0.0)
    it.close(20.0)
    assert it.trip_count == 1
    it.record_success(79.0)
    assert it.trip_count == 1
    it.record_success(81.0)
    assert it.trip_count == 0


def test_two_good_probes_close_it_and_a_bad_one_opens_it_anew() -> None:
    it = make_breaker()
    it.open("failures", 0.0)
    assert not it.is_probe_due(1.0)
    assert it.state(12.0) == "half_open"
    assert it.is_probe_due(12.0)
    it.start_probe(12.0)
    assert not it.is_probe_due(12.0), "one at a time"
    it.record_success(12.5)
    assert it.is_tripped
    assert it.is_probe_due(12.5)
    it.record_failure(13.0)
    assert it.state(14.0) == "open"
    now = it.open_until
    it.record_success(now)
    it.record_success(now)
    assert it.state(now) == "closed"


def test_probe_without_result_releases_its_slot() -> None:
    it = make_breaker()
    it.open("failures", 0.0)
    it.start_probe(20.0)
    assert not it.is_probe_due(49.0)
    assert it.is_probe_due(50.0)
    it.start_probe(50.0)
    it.abandon_probe(50.0)
    assert not it.is_probe_due(50.5)
    assert it.is_probe_due(51.0)


def test_failures_of_calls_begun_earlier_do_not_prolong_it() -> None:
    it = make_breaker()
    it.open("failures", 0.0)
    until = it.open_until
    it.record_failure(1.0)
    assert it.open_until == until


def test_starts_slowly_after_closing() -> None:
    it = make_breaker()
    assert it.slow_start_weight(0.0) == 1.0
    it.open("failures", 0.0)
    it.close(100.0)
    assert it.slow_start_weight(100.0) == pytest.approx(0.1)
    assert it.slow_start_weight(115.0) == pytest.approx(0.5)
    assert it.slow_start_weight(131.0) == 1.0
    assert it.slow_start_weight(100.0) == 1.0


def test_opens_for_a_run_of_very_slow_answers() -> None:
    it = make_breaker()
    for second in range(4):
        it.record_latency_ratio(9.0, float(second))
    it.record_latency_ratio(1.0, 5.0)
    for second in range(6, 10):
        it.record_latency_ratio(9.0, float(second))
    assert not it.is_tripped
    it.record_latency_ratio(9.0, 11.0)
    assert it.reason == "slow"


def test_merge_accepts_only_newer_state() -> None:
    one, other = make_breaker(), make_breaker()
    one.open("quota", 0.0, 900.0)
    assert other.merge_remote(one.epoch, one.reason, 900.0, one.trip_count, 50.0)
    assert (other.state(60.0), other.open_until, other.reason) == ("open", 950.0, "quota")
    assert not other.merge_remote(one.epoch, None, 0.0, 0, 60.0)
    assert other.is_tripped
    assert other.merge_remote(one.epoch + 1, None, 0.0, 0, 60.0)
    assert not other.is_tripped


def test_retry_budget_allows_a_fifth_plus_reserve() -> None:
    budget = RetryBudget(0.2)
    taken = 0
    for _ in range(100):
        budget.start_call()
        if budget.try_start_retry():
            taken += 1
            budget.end_retry()
        budget.end_call()
    assert 38 <= taken <= 40
    assert budget.remaining_ratio < 0.1


def test_retries_under_way_stay_a_fifth_of_the_calls() -> None:
    budget = RetryBudget(0.2)
    for _ in range(50):
        budget.start_call()
    assert sum(budget.try_start_retry() for _ in range(15)) == 10
    few = RetryBudget(0.2)
    few.start_call()
    assert sum(few.try_start_retry() for _ in range(15)) == 3


def test_adaptive_throttle_sheds_and_recovers() -> None:
    throttle = AdaptiveThrottle(random.Random(1))
    for i in range(50):
        throttle.record(float(i), overloaded=False)
    assert not throttle.should_shed(50.0)
    for i in range(50, 100):
        throttle.record(float(i), overloaded=True)
    spared = sum(throttle.should_shed(100.0) for _ in range(200))
    assert 20 < spared < 80
    for i in range(100, 300):
        throttle.record(float(i), overloaded=False)
    assert not throttle.should_shed(300.0)
    assert not throttle.is_active


def test_a_throttle_forgets_what_is_older_than_its_window() -> None:
    throttle = AdaptiveThrottle(random.Random(1))
    throttle.record(0.0, overloaded=True)
    assert not throttle.should_shed(500.0)
    for i in range(5000):
        throttle.record(float(i), overloaded=False)
    assert len(throttle._slices) <= 25
