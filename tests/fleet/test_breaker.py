"""When a breaker opens, and how it lets a deployment back in."""

import random

import pytest

from hamlet.routing.adaptive_throttle import VendorThrottle
from hamlet.routing.circuit_breaker import Breaker
from hamlet.routing.retry_budget import RetryBudget


def breaker() -> Breaker:
    return Breaker(random.Random(1))


def test_opens_after_three_failures_in_a_row() -> None:
    it = breaker()
    it.failed(1.0)
    it.failed(2.0)
    it.succeeded(3.0)
    it.failed(4.0)
    it.failed(5.0)
    assert it.state(5.0) == "closed"
    it.failed(6.0)
    assert (it.state(6.0), it.reason) == ("open", "failures")
    assert 15.0 <= it.until <= 17.0


def test_opens_after_five_failures_among_ten_within_a_minute() -> None:
    it = breaker()
    for second in range(10):
        it.failed(float(second)) if second % 2 == 0 else it.succeeded(float(second))
    assert it.opened
    slow = breaker()
    for second in range(10):
        at = second * 20.0
        slow.failed(at) if second % 2 == 0 else slow.succeeded(at)
    assert not slow.opened


def test_half_a_failure_counts_half() -> None:
    it = breaker()
    for second in range(5):
        it.failed(float(second), blame=0.5)
    assert not it.opened
    it.failed(6.0, blame=0.5)
    assert it.opened


def test_stays_open_longer_each_time_in_a_row() -> None:
    it, now, spans = breaker(), 0.0, []
    for _ in range(8):
        while not it.opened or now >= it.until:
            it.failed(now)
        spans.append(it.until - now)
        now = it.until
    assert [round(span / 10) for span in spans[:4]] == [1, 2, 4, 8]
    assert max(spans) <= 330.0


def test_forgives_a_trip_for_each_healthy_minute() -> None:
    it = breaker()
    for _ in range(3):
        it.failed(0.0)
    it.close(20.0)
    assert it.trips == 1
    it.succeeded(79.0)
    assert it.trips == 1
    it.succeeded(81.0)
    assert it.trips == 0


def test_two_good_probes_close_it_and_a_bad_one_opens_it_anew() -> None:
    it = breaker()
    it.open("failures", 0.0)
    assert not it.probe_due(1.0)
    assert it.state(12.0) == "half_open"
    assert it.probe_due(12.0)
    it.start_probe(12.0)
    assert not it.probe_due(12.0), "one at a time"
    it.succeeded(12.5)
    assert it.opened
    assert it.probe_due(12.5)
    it.failed(13.0)
    assert it.state(14.0) == "open"
    now = it.until
    it.succeeded(now)
    it.succeeded(now)
    assert it.state(now) == "closed"


def test_a_probe_that_nobody_hears_of_frees_its_place() -> None:
    it = breaker()
    it.open("failures", 0.0)
    it.start_probe(20.0)
    assert not it.probe_due(49.0)
    assert it.probe_due(50.0)
    it.start_probe(50.0)
    it.abandon_probe(50.0)
    assert not it.probe_due(50.5)
    assert it.probe_due(51.0)


def test_failures_of_calls_begun_earlier_do_not_prolong_it() -> None:
    it = breaker()
    it.open("failures", 0.0)
    until = it.until
    it.failed(1.0)
    assert it.until == until


def test_starts_slowly_after_closing() -> None:
    it = breaker()
    assert it.weight(0.0) == 1.0
    it.open("failures", 0.0)
    it.close(100.0)
    assert it.weight(100.0) == pytest.approx(0.1)
    assert it.weight(115.0) == pytest.approx(0.5)
    assert it.weight(131.0) == 1.0
    assert it.weight(100.0) == 1.0


def test_opens_for_a_run_of_very_slow_answers() -> None:
    it = breaker()
    for second in range(4):
        it.answered(9.0, float(second))
    it.answered(1.0, 5.0)
    for second in range(6, 10):
        it.answered(9.0, float(second))
    assert not it.opened
    it.answered(9.0, 11.0)
    assert it.reason == "slow"


def test_takes_over_only_what_is_newer() -> None:
    one, other = breaker(), breaker()
    one.open("quota", 0.0, 900.0)
    assert other.adopt(one.epoch, one.reason, 900.0, one.trips, 50.0)
    assert (other.state(60.0), other.until, other.reason) == ("open", 950.0, "quota")
    assert not other.adopt(one.epoch, None, 0.0, 0, 60.0)
    assert other.opened
    assert other.adopt(one.epoch + 1, None, 0.0, 0, 60.0)
    assert not other.opened


def test_a_budget_pays_for_a_fifth_of_the_calls_and_a_reserve() -> None:
    budget = RetryBudget(0.2)
    taken = 0
    for _ in range(100):
        budget.enter()
        if budget.take():
            taken += 1
            budget.done()
        budget.leave()
    assert 38 <= taken <= 40
    assert budget.share_left < 0.1


def test_retries_under_way_stay_a_fifth_of_the_calls() -> None:
    budget = RetryBudget(0.2)
    for _ in range(50):
        budget.enter()
    assert sum(budget.take() for _ in range(15)) == 10
    few = RetryBudget(0.2)
    few.enter()
    assert sum(few.take() for _ in range(15)) == 3


def test_a_vendor_that_refuses_is_asked_less_and_less_then_more_again() -> None:
    throttle = VendorThrottle(random.Random(1))
    for i in range(50):
        throttle.asked(float(i), overloaded=False)
    assert not throttle.spares(50.0)
    for i in range(50, 100):
        throttle.asked(float(i), overloaded=True)
    spared = sum(throttle.spares(100.0) for _ in range(200))
    assert 20 < spared < 80
    for i in range(100, 300):
        throttle.asked(float(i), overloaded=False)
    assert not throttle.spares(300.0)
    assert not throttle.active


def test_a_throttle_forgets_what_is_older_than_its_window() -> None:
    throttle = VendorThrottle(random.Random(1))
    throttle.asked(0.0, overloaded=True)
    assert not throttle.spares(500.0)
    for i in range(5000):
        throttle.asked(float(i), overloaded=False)
    assert len(throttle._slices) <= 25
