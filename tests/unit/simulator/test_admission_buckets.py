"""The truth of admission, against cases worked out by hand."""

import pytest

from hamlet.simulator import Payg, Ptu, SimulatedDeployment
from hamlet.simulator.admission_buckets import (
    PaygBucket,
    PtuBucket,
    Refusal,
    TokenDemand,
    UnlimitedBucket,
    bucket_for,
)
from hamlet.simulator.vendor_headers import quota_headers, refusal_headers

# 24 PTU of 2,500 tokens a minute drain 1,000 a second; ten seconds deep is 10,000.
PTU = Ptu(24, 2500, 3.0, depth_s=10.0)


def test_ptu_charges_prompt_and_weighted_limit_at_admission() -> None:
    bucket = PtuBucket(PTU)
    assert not isinstance(bucket.admit(TokenDemand(1000, 0, 1000), 5.0), Refusal)
    assert bucket.utilisation(5.0) == pytest.approx(0.4)


def test_ptu_does_not_charge_cached_tokens() -> None:
    bucket = PtuBucket(PTU)
    bucket.admit(TokenDemand(1000, 400, 800), 0.0)
    assert bucket.utilisation(0.0) == pytest.approx((600 + 2400) / 10_000)


def test_ptu_drains_at_a_constant_rate() -> None:
    bucket = PtuBucket(PTU)
    bucket.admit(TokenDemand(1000, 0, 1000), 0.0)
    assert bucket.utilisation(1.5) == pytest.approx(0.25)
    assert bucket.utilisation(100.0) == 0.0


def test_ptu_is_corrected_to_the_actual_cost_at_the_end() -> None:
    bucket = PtuBucket(PTU)
    settle = bucket.admit(TokenDemand(1000, 0, 1000), 0.0)
    assert not isinstance(settle, Refusal)
    # 4,000 charged, 2,000 drained in two seconds, 1,000 + 3 * 500 used: 4,000 - 2,000 - 1,500.
    settle(500, 2.0)
    assert bucket.utilisation(2.0) == pytest.approx(0.05)


def test_ptu_is_never_below_empty() -> None:
    bucket = PtuBucket(PTU)
    settle = bucket.admit(TokenDemand(1000, 0, 1000), 0.0)
    assert not isinstance(settle, Refusal)
    settle(0, 50.0)
    assert bucket.utilisation(50.0) == 0.0


def test_a_burst_passes_while_there_is_any_room_and_then_waits_exactly() -> None:
    bucket = PtuBucket(PTU)
    bucket.admit(TokenDemand(9_999, 0, 0), 0.0)
    assert not isinstance(bucket.admit(TokenDemand(4_001, 0, 0), 0.0), Refusal)
    refused = bucket.admit(TokenDemand(1, 0, 1), 0.5)
    # 14,000 less 500 is 3,500 over: three and a half seconds.
    assert isinstance(refused, Refusal)
    assert refused.wait_s == pytest.approx(3.5)
    assert isinstance(bucket.admit(TokenDemand(1, 0, 1), 3.999), Refusal)
    assert not isinstance(bucket.admit(TokenDemand(1, 0, 1), 4.001), Refusal)


def test_ptu_admits_a_request_after_the_retry_delay() -> None:
    bucket, spec = PtuBucket(PTU), SimulatedDeployment("p", capacity=PTU)
    bucket.admit(TokenDemand(13_000, 0, 0), 0.0)
    refused = bucket.admit(TokenDemand(1, 0, 1), 0.0)
    assert isinstance(refused, Refusal)
    headers = refusal_headers(spec, refused)
    assert headers == {"retry-after-ms": "3001", "retry-after": "3"}
    after = int(headers["retry-after-ms"]) / 1000
    assert not isinstance(bucket.admit(TokenDemand(1, 0, 1), after), Refusal)


def test_ptu_charges_what_is_usual_where_no_limit_is_set() -> None:
    bucket = PtuBucket(PTU)
    bucket.admit(TokenDemand(0), 0.0)
    assert bucket.utilisation(0.0) == pytest.approx(3 * PTU.default_output_tokens / 10_000)


def test_ptu_tells_its_utilisation() -> None:
    spec = SimulatedDeployment("p", region="koreacentral", capacity=PTU)
    bucket = PtuBucket(PTU)
    bucket.admit(TokenDemand(6_325, 0, 0), 0.0)
    assert quota_headers(spec, bucket, 0.0) == {
        "x-ms-region": "koreacentral",
        "azure-openai-deployment-utilization": "63.2%",
    }


def test_a_quota_takes_the_estimate_and_gives_nothing_back() -> None:
    bucket = PaygBucket(Payg(tpm=6_000))
    settle = bucket.admit(TokenDemand(1_000, 0, 2_000), 0.0)
    assert not isinstance(settle, Refusal)
    settle(1, 0.0)
    assert bucket.rate_limits(0.0) == {"limit-tokens": 6_000, "remaining-tokens": 3_000}
    refused = bucket.admit(TokenDemand(1_000, 0, 2_500), 0.0)
    # 500 missing at 100 a second.
    assert isinstance(refused, Refusal)
    assert (refused.wait_s, refused.limit) == (pytest.approx(5.0), "tokens")
    assert not isinstance(bucket.admit(TokenDemand(1_000, 0, 2_500), 5.0), Refusal)


def test_requests_are_judged_over_ten_seconds() -> None:
    bucket = PaygBucket(Payg(rpm=60))
    for second in range(10):
        assert not isinstance(bucket.admit(TokenDemand(1, 0, 1), second * 0.3), Refusal)
    refused = bucket.admit(TokenDemand(1, 0, 1), 2.9)
    assert isinstance(refused, Refusal)
    # Those of second 0 leave the window at 10.
    assert (refused.wait_s, refused.limit) == (pytest.approx(7.1), "requests")
    assert isinstance(bucket.admit(TokenDemand(1, 0, 1), 9.9), Refusal)
    assert not isinstance(bucket.admit(TokenDemand(1, 0, 1), 10.0), Refusal)
    assert bucket.utilisation(10.0) == pytest.approx(0.7)


def test_a_refused_request_is_not_counted() -> None:
    bucket = PaygBucket(Payg(tpm=1_000, rpm=60))
    for _ in range(20):
        assert isinstance(bucket.admit(TokenDemand(2_000, 0, 1), 0.0), Refusal)
    assert bucket.rate_limits(0.0)["remaining-requests"] == 10
    assert bucket.rate_limits(0.0)["remaining-tokens"] == 1_000


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        ("openai", "x-ratelimit-remaining-tokens"),
        ("azure", "x-ratelimit-remaining-tokens"),
        ("anthropic", "anthropic-ratelimit-tokens-remaining"),
    ],
)
def test_each_vendor_tells_what_remains_in_its_own_words(wire, name) -> None:
    spec = SimulatedDeployment("p", wire=wire, capacity=Payg(tpm=6_000, rpm=600))
    bucket = bucket_for(spec.capacity)
    bucket.admit(TokenDemand(500, 0, 500), 0.0)
    assert quota_headers(spec, bucket, 0.0)[name] == "5000"


def test_only_azure_tells_milliseconds() -> None:
    spec = SimulatedDeployment("p", wire="anthropic")
    assert refusal_headers(spec, Refusal(2.4, "tokens")) == {"retry-after": "3"}


def test_without_capacity_nothing_is_refused() -> None:
    bucket = bucket_for(None)
    assert isinstance(bucket, UnlimitedBucket)
    assert not isinstance(bucket.admit(TokenDemand(10**9), 0.0), Refusal)
    assert (bucket.utilisation(0.0), bucket.rate_limits(0.0)) == (0.0, {})


def test_a_clock_that_goes_back_neither_drains_nor_fills() -> None:
    ptu, payg = PtuBucket(PTU), PaygBucket(Payg(tpm=6_000))
    for bucket in (ptu, payg):
        bucket.admit(TokenDemand(2_000, 0, 0), 100.0)
    assert ptu.utilisation(50.0) == pytest.approx(0.2)
    assert payg.utilisation(50.0) == pytest.approx(1 / 3)
