"""When a circuit breaker opens, and how it closes again."""

import random

import pytest

from hamlet.routing.circuit_breaker import CircuitBreaker


def make_breaker() -> CircuitBreaker:
    return CircuitBreaker(random.Random(1))


def test_opens_after_three_failures_in_a_row() -> None:
    breaker = make_breaker()
    breaker.record_failure(1.0)
    breaker.record_failure(2.0)
    breaker.record_success(3.0)
    breaker.record_failure(4.0)
    breaker.record_failure(5.0)
    assert breaker.state(5.0) == "closed"
    breaker.record_failure(6.0)
    assert (breaker.state(6.0), breaker.reason) == ("open", "failures")
    assert 15.0 <= breaker.open_until <= 17.0


def test_opens_after_five_failures_among_ten_within_a_minute() -> None:
    breaker = make_breaker()
    for second in range(10):
        breaker.record_failure(float(second)) if second % 2 == 0 else breaker.record_success(
            float(second)
        )
    assert breaker.is_tripped
    slow = make_breaker()
    for second in range(10):
        at = second * 20.0
        slow.record_failure(at) if second % 2 == 0 else slow.record_success(at)
    assert not slow.is_tripped


def test_partial_failure_has_half_weight() -> None:
    breaker = make_breaker()
    for second in range(5):
        breaker.record_failure(float(second), weight=0.5)
    assert not breaker.is_tripped
    breaker.record_failure(6.0, weight=0.5)
    assert breaker.is_tripped


def test_stays_open_longer_each_time_in_a_row() -> None:
    breaker, now, spans = make_breaker(), 0.0, []
    for _ in range(8):
        while not breaker.is_tripped or now >= breaker.open_until:
            breaker.record_failure(now)
        spans.append(breaker.open_until - now)
        now = breaker.open_until
    assert [round(span / 10) for span in spans[:4]] == [1, 2, 4, 8]
    assert max(spans) <= 330.0


def test_trip_count_decays_each_healthy_minute() -> None:
    breaker = make_breaker()
    for _ in range(3):
        breaker.record_failure(0.0)
    breaker.close(20.0)
    assert breaker.trip_count == 1
    breaker.record_success(79.0)
    assert breaker.trip_count == 1
    breaker.record_success(81.0)
    assert breaker.trip_count == 0


def test_two_successful_probes_close_it_and_a_failed_one_reopens_it() -> None:
    breaker = make_breaker()
    breaker.open("failures", 0.0)
    assert not breaker.is_probe_due(1.0)
    assert breaker.state(12.0) == "half_open"
    assert breaker.is_probe_due(12.0)
    breaker.start_probe(12.0)
    assert not breaker.is_probe_due(12.0), "one at a time"
    breaker.record_success(12.5)
    assert breaker.is_tripped
    assert breaker.is_probe_due(12.5)
    breaker.record_failure(13.0)
    assert breaker.state(14.0) == "open"
    now = breaker.open_until
    breaker.record_success(now)
    breaker.record_success(now)
    assert breaker.state(now) == "closed"


def test_probe_without_result_releases_its_slot() -> None:
    breaker = make_breaker()
    breaker.open("failures", 0.0)
    breaker.start_probe(20.0)
    assert not breaker.is_probe_due(49.0)
    assert breaker.is_probe_due(50.0)
    breaker.start_probe(50.0)
    breaker.abandon_probe(50.0)
    assert not breaker.is_probe_due(50.5)
    assert breaker.is_probe_due(51.0)


def test_failures_of_earlier_calls_do_not_extend_it() -> None:
    breaker = make_breaker()
    breaker.open("failures", 0.0)
    until = breaker.open_until
    breaker.record_failure(1.0)
    assert breaker.open_until == until


def test_starts_slowly_after_closing() -> None:
    breaker = make_breaker()
    assert breaker.slow_start_weight(0.0) == 1.0
    breaker.open("failures", 0.0)
    breaker.close(100.0)
    assert breaker.slow_start_weight(100.0) == pytest.approx(0.1)
    assert breaker.slow_start_weight(115.0) == pytest.approx(0.5)
    assert breaker.slow_start_weight(131.0) == 1.0
    assert breaker.slow_start_weight(100.0) == 1.0


def test_opens_after_five_very_slow_responses() -> None:
    breaker = make_breaker()
    for second in range(4):
        breaker.record_latency_ratio(9.0, float(second))
    breaker.record_latency_ratio(1.0, 5.0)
    for second in range(6, 10):
        breaker.record_latency_ratio(9.0, float(second))
    assert not breaker.is_tripped
    breaker.record_latency_ratio(9.0, 11.0)
    assert breaker.reason == "slow"


def test_merge_accepts_only_newer_state() -> None:
    one, other = make_breaker(), make_breaker()
    one.open("quota", 0.0, 900.0)
    assert other.merge_remote(one.epoch, one.reason, 900.0, one.trip_count, 50.0)
    assert (other.state(60.0), other.open_until, other.reason) == ("open", 950.0, "quota")
    assert not other.merge_remote(one.epoch, None, 0.0, 0, 60.0)
    assert other.is_tripped
    assert other.merge_remote(one.epoch + 1, None, 0.0, 0, 60.0)
    assert not other.is_tripped


def test_open_time_may_be_given_as_by_a_retry_after() -> None:
    breaker = make_breaker()
    breaker.open("failures", 0.0, 42.0)
    assert not breaker.is_probe_due(41.9)
    assert breaker.is_probe_due(42.0)
