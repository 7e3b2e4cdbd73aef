"""The mirror of a deployment's capacity, against cases worked out by hand."""

import math

import pytest

from hamlet.core import Headroom, Usage
from hamlet.registry import Quota
from hamlet.routing import Demand
from hamlet.routing.capacity import OpenLedger, QuotaLedger, ReservedLedger, ledger_for
from hamlet.routing.cost_estimate import Estimator
from hamlet.routing.token_bucket import LeakyBucket
from support.fleets import PTU


def reserved() -> ReservedLedger:
    return ReservedLedger(PTU, 0.0)


def test_a_bucket_drains_at_its_rate_and_never_below_empty() -> None:
    bucket = LeakyBucket(10.0, 100.0, 0.0)
    bucket.pour(50.0, 0.0)
    assert bucket.level(2.0) == 30.0
    assert bucket.level(1.0) == 30.0, "time does not run backwards"
    assert bucket.level(60.0) == 0.0
    bucket.pour(-5.0, 60.0)
    assert bucket.level(60.0) == 0.0


def test_a_bucket_knows_when_there_will_be_room() -> None:
    bucket = LeakyBucket(10.0, 100.0, 0.0)
    bucket.pour(90.0, 0.0)
    assert bucket.free_in(10.0, 0.0) == 0.0
    assert bucket.free_in(30.0, 0.0) == pytest.approx(2.0)
    assert bucket.free_in(101.0, 0.0) == math.inf


def test_an_admission_is_charged_for_fresh_input_and_weighted_max_tokens() -> None:
    assert reserved().cost(Demand(1000, 200)) == 1000 + 3 * 200
    assert reserved().cost(Demand(1000, 200), cached=400) == 600 + 3 * 200
    assert reserved().cost(Demand(100, 0), cached=400) == 0


def test_fill_is_what_a_call_would_leave() -> None:
    ledger = reserved()
    ledger.book(15_000, 0.0)
    assert ledger.fill(3_000, 0.0) == pytest.approx(18 / 30)
    assert ledger.fill(3_000, 10.0) == pytest.approx(8 / 30)


def test_the_end_of_a_call_corrects_its_charge() -> None:
    ledger = reserved()
    ledger.book(4_000, 0.0)
    used = ledger.used(Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=600))
    assert used == 400 + 300
    ledger.correct(used - 4_000, 0.0)
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
def test_an_odd_usage_tells_nothing(usage: Usage) -> None:
    assert reserved().used(usage) is None
    assert QuotaLedger(Quota(60_000, None), 0.0).used(usage) is None


def test_a_refusal_fills_the_bucket_and_teaches_its_depth() -> None:
    ledger = reserved()
    ledger.refused(0.0)
    assert ledger.depth_s == pytest.approx(27.0), "we thought it empty: it is shallower"
    assert ledger.fill(0, 0.0) == pytest.approx(1.0)
    ledger.refused(0.0)
    assert ledger.depth_s == pytest.approx(27.0), "we knew it was full"


def test_the_depth_stays_within_bounds() -> None:
    ledger = reserved()
    for second in range(0, 5000, 100):
        ledger.refused(float(second))
    assert ledger.depth_s == 5.0
    for second in range(5000, 400_000, 61):
        ledger.book(0.97 * ledger.depth_s * 1000, float(second))
    assert ledger.depth_s == 120.0


def test_a_quiet_minute_below_the_brim_teaches_nothing() -> None:
    ledger = reserved()
    for second in range(0, 600, 61):
        ledger.book(10_000, float(second))
    assert ledger.depth_s == 30.0


def test_a_call_larger_than_the_bucket_fits_once_half_is_free() -> None:
    ledger = reserved()
    assert ledger.fill(90_000, 0.0) == pytest.approx(0.5)
    ledger.book(20_000, 0.0)
    assert ledger.fill(90_000, 0.0) > 1
    assert ledger.free_in(90_000, 1.0, 0.0) == pytest.approx(5.0)


def test_the_utilisation_header_moves_the_level_half_way() -> None:
    ledger = reserved()
    ledger.hint(Headroom(utilisation=0.8), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.4)
    ledger.hint(Headroom(), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.4)


def test_a_spillover_says_that_the_bucket_is_full() -> None:
    ledger = reserved()
    ledger.hint(Headroom(spilled=True), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(1.0)


def test_a_quota_has_tokens_a_minute_and_requests_in_ten_seconds() -> None:
    ledger = QuotaLedger(Quota(60_000, 60), 0.0)
    cost = ledger.cost(Demand(1000, 200), cached=900)
    assert cost == 1200
    for _ in range(9):
        ledger.book(cost, 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(1.0), "ten requests in ten seconds"
    assert ledger.free_in(cost, 1.0, 0.0) == 0.0
    ledger.book(cost, 0.0)
    assert ledger.free_in(cost, 1.0, 0.0) == pytest.approx(1.0)
    ledger.correct(-600, 0.0)
    assert ledger.fill(0, 9.0) == pytest.approx(max(2 / 10, (12_000 - 600 - 9000) / 60_000))


def test_a_quota_of_tokens_alone_counts_no_requests() -> None:
    ledger = QuotaLedger(Quota(60_000, None), 0.0)
    for _ in range(50):
        ledger.book(1000, 0.0)
    assert ledger.fill(10_000, 0.0) == pytest.approx(1.0)
    assert ledger.free_in(16_000, 1.0, 0.0) == pytest.approx(6.0)


def test_what_a_vendor_says_is_left_may_only_lower_what_we_think() -> None:
    ledger = QuotaLedger(Quota(60_000, None), 0.0)
    ledger.hint(Headroom(tokens=30_000, requests=5), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)
    ledger.hint(Headroom(tokens=59_000), 0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)
    ledger.hint(Headroom(tokens=0), 0.0)
    ledger.refused(0.0)
    assert ledger.fill(0, 0.0) == pytest.approx(0.5)


def test_where_nothing_is_known_there_is_room() -> None:
    ledger = ledger_for(None, 0.0)
    assert isinstance(ledger, OpenLedger)
    ledger.book(1e9, 0.0)
    ledger.correct(1e9, 0.0)
    ledger.refused(0.0)
    ledger.hint(Headroom(spilled=True), 0.0)
    assert ledger.fill(ledger.cost(Demand(1e9)), 0.0) == 0.0
    assert ledger.free_in(1e9, 0.85, 0.0) == 0.0
    assert ledger.used(Usage(1, 1)) == 0.0


def test_the_estimate_of_tokens_learns_from_usage() -> None:
    estimator = Estimator()
    assert estimator.input_tokens(4000) == pytest.approx(1000)
    for _ in range(200):
        estimator.learn(4000, Usage(2000, 50))
    assert estimator.input_tokens(4000) == pytest.approx(2000, rel=0.01)
    assert estimator.output_tokens(None) == (pytest.approx(50, rel=0.05),) * 2
    assert estimator.output_tokens(400) == (400.0, pytest.approx(50, rel=0.05))
    assert estimator.output_tokens(10) == (10.0, 10.0)


def test_the_estimate_ignores_what_is_no_measurement() -> None:
    estimator = Estimator()
    for usage in (Usage(9, 9, estimated=True), Usage(-5, -5), Usage()):
        estimator.learn(10_000, usage)
    estimator.learn(0, Usage(100, None))
    assert estimator.input_tokens(4) == 1.0
    assert estimator.output_tokens(None)[0] == 300.0
