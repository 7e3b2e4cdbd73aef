"""The token bucket, as the rate limit of a key and as the capacity of a deployment."""

import math

import pytest

from hamlet.routing.token_bucket import TokenBucket


def test_level_drains_to_zero() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.add(50.0, 0.0)
    assert bucket.level(2.0) == 30.0
    assert bucket.level(1.0) == 30.0, "time does not run backwards"
    assert bucket.level(60.0) == 0.0
    bucket.add(-5.0, 60.0)
    assert bucket.level(60.0) == 0.0


def test_time_until_free() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.add(90.0, 0.0)
    assert bucket.time_until_free(10.0, 0.0) == 0.0
    assert bucket.time_until_free(30.0, 0.0) == pytest.approx(2.0)
    assert bucket.time_until_free(101.0, 0.0) == math.inf


def test_a_rate_limit_gives_a_burst_and_then_one_token_at_a_time() -> None:
    bucket = TokenBucket(0.5, 3, 10.0)
    assert [bucket.try_acquire(10.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.try_acquire(10.0) == pytest.approx(2.0)
    assert bucket.try_acquire(11.0) == pytest.approx(1.0)
    assert bucket.try_acquire(12.0) == 0.0
    assert bucket.try_acquire(9.0) == pytest.approx(2.0), "time does not run backwards"
    assert [bucket.try_acquire(1000.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(2.0)]


def test_scaling_down_takes_a_part_of_the_level_and_scaling_up_none() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.add(80.0, 0.0)
    bucket.scale(0.5, 0.0)
    assert (bucket.rate, bucket.capacity, bucket.level(0.0)) == (5.0, 50.0, 40.0)
    bucket.scale(2.0, 0.0)
    assert (bucket.rate, bucket.capacity, bucket.level(0.0)) == (10.0, 100.0, 40.0)


def test_an_exhausted_bucket_keeps_what_is_above_its_capacity() -> None:
    bucket = TokenBucket(10.0, 100.0, 0.0)
    bucket.exhaust(0.0)
    assert bucket.level(0.0) == 100.0
    bucket.add(30.0, 0.0)
    bucket.exhaust(1.0)
    assert bucket.level(1.0) == 120.0
