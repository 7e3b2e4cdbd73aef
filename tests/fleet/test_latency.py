"""What is expected, and who is slower than that."""

import random

import pytest

from hamlet.routing.latency import Expectation, Slowness


def test_the_expectation_finds_the_base_and_the_price_of_a_token() -> None:
    rng, expectation = random.Random(3), Expectation()
    for _ in range(600):
        tokens = rng.uniform(100, 8000)
        expectation.learn(tokens, (0.4 + 5e-5 * tokens) * rng.uniform(0.8, 1.2))
    assert expectation.of(0) == pytest.approx(0.4, rel=0.1)
    assert expectation.of(8000) == pytest.approx(0.8, rel=0.1)


def test_before_anything_is_known_half_a_second_is_expected() -> None:
    assert Expectation().of(1250) == pytest.approx(0.5, rel=0.02)
    assert Expectation().quantile(0.5, 100) is None


def test_a_slow_deployment_hardly_moves_what_is_expected_of_the_others() -> None:
    rng, expectation = random.Random(3), Expectation()
    for i in range(800):
        expectation.learn(1000, rng.uniform(0.45, 0.55) * (50 if i % 27 == 0 else 1))
    assert expectation.of(1000) == pytest.approx(0.5, rel=0.15)


def test_quantiles_follow_the_size_of_the_prompt() -> None:
    rng, expectation = random.Random(3), Expectation()
    for _ in range(400):
        expectation.learn(1000, rng.lognormvariate(-0.8, 0.45))
    p50, p99 = expectation.quantile(0.5, 1000), expectation.quantile(0.99, 1000)
    assert p50 is not None
    assert p99 is not None
    assert p50 == pytest.approx(0.45, rel=0.15)
    assert 2 * p50 < p99 < 5 * p50


def test_answers_of_one_length_do_not_break_the_fit() -> None:
    expectation = Expectation()
    for _ in range(2000):
        expectation.learn(500, 0.3)
    assert expectation.of(500) == pytest.approx(0.3, rel=0.02)


def test_slowness_jumps_up_and_comes_down_slowly() -> None:
    slowness = Slowness(0.0)
    slowness.sample(6.0, 10.0)
    assert slowness.value(10.0) == 6.0
    slowness.sample(1.0, 20.0)
    assert 4.5 < slowness.value(20.0) < 6.0
    for second in range(21, 200):
        slowness.sample(1.0, float(second))
    assert slowness.value(200.0) < 1.5


def test_slowness_is_bounded_and_fades_without_samples() -> None:
    slowness = Slowness(0.0)
    assert slowness.value(0.0) == 1.0
    slowness.sample(500.0, 0.0)
    assert slowness.value(0.0) == 10.0
    assert slowness.value(60.0) == pytest.approx(1 + 9 / 2.718, rel=0.01)
    slowness.sample(0.5, 600.0)
    assert 1.0 <= slowness.value(600.0) < 1.5
