"""The capacity models, against cases worked out by hand."""

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
from support.routing import PTU


def reserved_capacity() -> ReservedCapacity:
    return ReservedCapacity(PTU, 0.0)


def test_cost_is_uncached_input_plus_weighted_max_tokens() -> None:
    assert reserved_capacity().cost(CostEstimate(1000, 200)) == 1000 + 3 * 200
    assert reserved_capacity().cost(CostEstimate(1000, 200), cached_tokens=400) == 600 + 3 * 200
    assert reserved_capacity().cost(CostEstimate(100, 0), cached_tokens=400) == 0


def test_fill_includes_the_pending_call() -> None:
    model = reserved_capacity()
    model.reserve(15_000, 0.0)
    assert model.fill(3_000, 0.0) == pytest.approx(18 / 30)
    assert model.fill(3_000, 10.0) == pytest.approx(8 / 30)


def test_usage_corrects_the_charge() -> None:
    model = reserved_capacity()
    model.reserve(4_000, 0.0)
    used = model.actual_cost(Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600))
    assert used == 400 + 300
    model.adjust(used - 4_000, 0.0)
    assert model.fill(0, 0.0) == pytest.approx(700 / 30_000)


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
    model = reserved_capacity()
    model.observe_refusal(0.0)
    assert model.depth_s == pytest.approx(27.0), "it was thought empty, so it is smaller"
    assert model.fill(0, 0.0) == pytest.approx(1.0)
    model.observe_refusal(0.0)
    assert model.depth_s == pytest.approx(27.0), "it was known to be full"


def test_depth_stays_within_bounds() -> None:
    model = reserved_capacity()
    for second in range(0, 5000, 100):
        model.observe_refusal(float(second))
    assert model.depth_s == 5.0
    for second in range(5000, 400_000, 61):
        model.reserve(0.97 * model.depth_s * 1000, float(second))
    assert model.depth_s == 120.0


def test_depth_is_not_learned_below_capacity() -> None:
    model = reserved_capacity()
    for second in range(0, 600, 61):
        model.reserve(10_000, float(second))
    assert model.depth_s == 30.0


def test_call_larger_than_the_bucket_needs_half_of_it() -> None:
    model = reserved_capacity()
    assert model.fill(90_000, 0.0) == pytest.approx(0.5)
    model.reserve(20_000, 0.0)
    assert model.fill(90_000, 0.0) > 1
    assert model.time_until_free(90_000, 1.0, 0.0) == pytest.approx(5.0)


def test_utilization_header_moves_the_level_half_way() -> None:
    model = reserved_capacity()
    model.observe_headers(Headroom(utilisation=0.8), 0.0)
    assert model.fill(0, 0.0) == pytest.approx(0.4)
    model.observe_headers(Headroom(), 0.0)
    assert model.fill(0, 0.0) == pytest.approx(0.4)


def test_spillover_fills_the_bucket() -> None:
    model = reserved_capacity()
    model.observe_headers(Headroom(spilled=True), 0.0)
    assert model.fill(0, 0.0) == pytest.approx(1.0)


def test_quota_of_tokens_per_minute_and_requests_per_ten_seconds() -> None:
    model = QuotaCapacity(Quota(60_000, 60), 0.0)
    cost = model.cost(CostEstimate(1000, 200), cached_tokens=900)
    assert cost == 1200
    for _ in range(9):
        model.reserve(cost, 0.0)
    assert model.fill(0, 0.0) == pytest.approx(1.0), "ten requests in ten seconds"
    assert model.time_until_free(cost, 1.0, 0.0) == 0.0
    model.reserve(cost, 0.0)
    assert model.time_until_free(cost, 1.0, 0.0) == pytest.approx(1.0)
    model.adjust(-600, 0.0)
    assert model.fill(0, 9.0) == pytest.approx(max(2 / 10, (12_000 - 600 - 9000) / 60_000))


def test_quota_of_tokens_counts_no_requests() -> None:
    model = QuotaCapacity(Quota(60_000, None), 0.0)
    for _ in range(50):
        model.reserve(1000, 0.0)
    assert model.fill(10_000, 0.0) == pytest.approx(1.0)
    assert model.time_until_free(16_000, 1.0, 0.0) == pytest.approx(6.0)


def test_vendor_remaining_header_only_lowers_estimate() -> None:
    model = QuotaCapacity(Quota(60_000, None), 0.0)
    model.observe_headers(Headroom(tokens=30_000, requests=5), 0.0)
    assert model.fill(0, 0.0) == pytest.approx(0.5)
    model.observe_headers(Headroom(tokens=59_000), 0.0)
    assert model.fill(0, 0.0) == pytest.approx(0.5)
    model.observe_headers(Headroom(tokens=0), 0.0)
    model.observe_refusal(0.0)
    assert model.fill(0, 0.0) == pytest.approx(0.5)


def test_unlimited_capacity_always_has_room() -> None:
    model = capacity_model_for(None, 0.0)
    assert isinstance(model, UnlimitedCapacity)
    model.reserve(1e9, 0.0)
    model.adjust(1e9, 0.0)
    model.observe_refusal(0.0)
    model.observe_headers(Headroom(spilled=True), 0.0)
    assert model.fill(model.cost(CostEstimate(1e9)), 0.0) == 0.0
    assert model.time_until_free(1e9, 0.85, 0.0) == 0.0
    assert model.actual_cost(Usage(1, 1)) == 0.0
