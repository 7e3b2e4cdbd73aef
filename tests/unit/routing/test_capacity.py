"""The mirror of a deployment's capacity, against cases worked out by hand."""

import math

import pytest

from hamlet.core import Headroom, Usage
from hamlet.registry import Quota
from hamlet.routing import CostEstimate
from hamlet.routing.capacity_model import (
    QuotaCapacity,
    ReservedCapacity,
    UnlimitedCapacity,
    capacity_model_for,
)
from hamlet.routing.cost_estimate import TokenEstimator
from hamlet.routing.token_bucket import TokenBucket
from support.routing import PTU


def reserved_capacity() -> ReservedCapacity:
    return ReservedCapacity(PTU, 0.0)


def test_a_bucket_drains_at_its_rate_and_never_below_empty() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.add(50.0, 0.0)
    assert bucket.level(2.0) == 30.0
    assert bucket.level(1.0) == 30.0, "time does not run backwards"
    assert bucket.level(60.0) == 0.0
    bucket.add(-5.0, 60.0)
    assert bucket.level(60.0) == 0.0


def test_a_bucket_knows_when_there_will_be_room() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.add(90.0, 0.0)
    assert bucket.time_until_free(10.0, 0.0) == 0.0
    assert bucket.time_until_free(30.0, 0.0) == pytest.approx(2.0)
    assert bucket.time_until_free(101.0, 0.0) == math.inf


def test_an_admission_is_charged_for_fresh_input_and_weighted_max_tokens() -> None:
    assert reserved_capacity().cost(CostEstimate(1000, 200)) == 1000 + 3 * 200
    assert reserved_capacity().cost(CostEstimate(1000, 200), cached_tokens=400) == 600 + 3 * 200
    assert reserved_capacity().cost(CostEstimate(100, 0), cached_tokens=400) == 0


def test_fill_includes_the_pending_call() -> None:
    ledger = reserved_capacity()
    ledger.reserve(15_000, 0.0)
    assert ledger.fill(3_000, 0.0) == pytest.approx(18 / 30)
    assert ledger.fill(3_000, 10.0) == pytest.approx(8 / 30)


def test_the_end_of_a_call_corrects_its_charge() -> None:
    ledger = reserved_capacity()
    ledger.reserve(4_000, 0.0)
    used = ledger.actual_cost(Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600))
    assert used == 400 + 300
    ledger.adjust(used - 4_000, 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(700 / 30_000)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(input_tokens=-1, output_tokens=5),
        Usage(input_tokens="7", output_tokens=5),  # type: ignore[arg-type]
        Usage(input_tokens=5, output_tokens=10**12),
        Usage(input_tokens=5, output_tokens=None),
    ],
)
def test_invalid_usage_is_ignored(usage: Usage) -> None:
    assert reserved_capacity().actual_cost(usage) is None
    assert QuotaCapacity(Quota(60_000, None), 0.0).actual_cost(usage) is None


def test_rejection_fills_bucket_and_estimates_depth() -> None:
    ledger = reserved_capacity()
    ledger.observe_refusal(0.0)
    assert ledger.depth_s == pytest.approx(27.0), "we thought it empty: it is shallower"
    assert ledger.fill(0, 0.0) == pytest.approx(1.0)
    ledger.observe_refusal(0.0)
    assert ledger.depth_s == pytest.approx(27.0), "we knew it was full"


def test_the_depth_stays_within_bounds() -> None:
    ledger = reserved_capacity()
    for second in range(0, 5000, 100):
        ledger.observe_refusal(float(second))
    assert ledger.depth_s == 5.0
    for second in range(5000, 400_000, 61):
        ledger.reserve(0.97 * ledger.depth_s * 1000, float(second))
    assert ledger.depth_s == 120.0


def test_depth_is_not_learned_below_capacity() -> None:
    ledger = reserved_capacity()
    for second in range(0, 600, 61):
        ledger.reserve(10_000, float(second))
    assert ledger.depth_s == 30.0


def test_a_call_larger_than_the_bucket_fits_once_half_is_free() -> None:
    ledger = reserved_capacity()
    assert ledger.fill(90_000, 0.0) == pytest.approx(0.5)
    ledger.reserve(20_000, 0.0)
    assert ledger.fill(90_000, 0.0) > 1
    assert ledger.time_until_free(90_000, 1.0, 0.0) == pytest.approx(5.0)


def test_the_utilisation_header_moves_the_level_half_way() -> None:
    ledger = reserved_capacity()
    ledger.observe_headers(Headroom(utilisation=0.8), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.4)
    ledger.observe_headers(Headroom(), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.4)


def test_a_spillover_says_that_the_bucket_is_full() -> None:
    ledger = reserved_capacity()
    ledger.observe_headers(Headroom(spilled=True), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(1.0)


def test_a_quota_has_tokens_a_minute_and_requests_in_ten_seconds() -> None:
    ledger = QuotaCapacity(Quota(60_000, 60), 0.0)
    cost = ledger.cost(CostEstimate(1000, 200), cached_tokens=900)
    assert cost == 1200
    for _ in range(9):
        ledger.reserve(cost, 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(1.0), "ten requests in ten seconds"
    assert ledger.time_until_free(cost, 1.0, 0.0) == 0.0
    ledger.reserve(cost, 0.0)
    assert ledger.time_until_free(cost, 1.0, 0.0) == pytest.approx(1.0)
    ledger.adjust(-600, 0.0)
    assert ledger.fill(0, 9.0) == pytest.approx(max(2 / 10, (12_000 - 600 - 9000) / 60_000))


def test_a_quota_of_tokens_alone_counts_no_requests() -> None:
    ledger = QuotaCapacity(Quota(60_000, None), 0.0)
    for _ in range(50):
        ledger.reserve(1000, 0.0)
    assert ledger.fill(10_000, 0.0) == pytest.approx(1.0)
    assert ledger.time_until_free(16_000, 1.0, 0.0) == pytest.approx(6.0)


def test_vendor_remaining_header_only_lowers_estimate() -> None:
    ledger = QuotaCapacity(Quota(60_000, None), 0.0)
    ledger.observe_headers(Headroom(tokens=30_000, requests=5), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)
    ledger.observe_headers(Headroom(tokens=59_000), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)
    ledger.observe_headers(Headroom(tokens=0), 0.0)
    ledger.observe_refusal(0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)


def test_unlimited_capacity_always_has_room() -> None:
    ledger = capacity_model_for(None, 0.0)
    assert isinstance(ledger, UnlimitedCapacity)
    ledger.reserve(1e9, 0.0)
    ledger.adjust(1e9, 0.0)
    ledger.observe_refusal(0.0)
    ledger.observe_headers(Headroom(spilled=True), 0.0)
    assert ledger.fill(ledger.cost(CostEstimate(1e9)), 0.0) == 0.0
    assert ledger.time_until_free(1e9, 0.85, 0.0) == 0.0
    assert ledger.actual_cost(Usage(1, 1)) == 0.0


def test_the_estimate_of_tokens_learns_from_usage() -> None:
    estimator = TokenEstimator()
    assert estimator.estimate_input_tokens(4000) == pytest.approx(1000)
    for _ in range(200):
        estimator.learn(4000, Usage(2000, 50))
    assert estimator.estimate_input_tokens(4000) == pytest.approx(2000, rel=0.01)
    assert estimator.estimate_output_tokens(None) == (pytest.approx(50, rel=0.05),) * 2
    assert estimator.estimate_output_tokens(400) == (400.0, pytest.approx(50, rel=0.05))
    assert estimator.estimate_output_tokens(10) == (10.0, 10.0)


def test_the_estimate_ignores_what_is_no_measurement() -> None:
    estimator = TokenEstimator()
    for usage in (Usage(9, 9, estimated=True), Usage(-5, -5), Usage()):
        estimator.learn(10_000, usage)
    estimator.learn(0, Usage(100, None))
    assert estimator.estimate_input_tokens(4) == 1.0
    assert estimator.estimate_output_tokens(None)[0] == 300.0
