"""The expected latency, and how much slower a deployment is."""

import random

import pytest

from hamlet.routing.latency import LatencyModel, PeakEwma


def test_latency_model_fits_base_and_per_token_cost() -> None:
    rng, model = random.Random(3), LatencyModel()
    for _ in range(600):
        tokens = rng.uniform(100, 8000)
        model.learn(tokens, (0.4 + 5e-5 * tokens) * rng.uniform(0.8, 1.2))
    assert model.predict_s(0) == pytest.approx(0.4, rel=0.1)
    assert model.predict_s(8000) == pytest.approx(0.8, rel=0.1)


def test_default_latency_is_half_a_second() -> None:
    assert LatencyModel().predict_s(1250) == pytest.approx(0.5, rel=0.02)
    assert LatencyModel().quantile_s(0.5, 100) is None


def test_slow_deployment_barely_shifts_route_latency() -> None:
    rng, model = random.Random(3), LatencyModel()
    for i in range(800):
        model.learn(1000, rng.uniform(0.45, 0.55) * (50 if i % 27 == 0 else 1))
    assert model.predict_s(1000) == pytest.approx(0.5, rel=0.15)


def test_quantiles_follow_the_size_of_the_prompt() -> None:
    rng, model = random.Random(3), LatencyModel()
    for _ in range(400):
        model.learn(1000, rng.lognormvariate(-0.8, 0.45))
    p50, p99 = model.quantile_s(0.5, 1000), model.quantile_s(0.99, 1000)
    assert p50 is not None
    assert p99 is not None
    assert p50 == pytest.approx(0.45, rel=0.15)
    assert 2 * p50 < p99 < 5 * p50


def test_samples_of_one_length_do_not_break_the_fit() -> None:
    model = LatencyModel()
    for _ in range(2000):
        model.learn(500, 0.3)
    assert model.predict_s(500) == pytest.approx(0.3, rel=0.02)


def test_peak_ewma_rises_fast_and_decays_slowly() -> None:
    slowness = PeakEwma(0.0)
    slowness.observe(6.0, 10.0)
    assert slowness.value(10.0) == 6.0
    slowness.observe(1.0, 20.0)
    assert 4.5 < slowness.value(20.0) < 6.0
    for second in range(21, 200):
        slowness.observe(1.0, float(second))
    assert slowness.value(200.0) < 1.5


def test_peak_ewma_is_bounded_and_decays_without_samples() -> None:
    slowness = PeakEwma(0.0)
    assert slowness.value(0.0) == 1.0
    slowness.observe(500.0, 0.0)
    assert slowness.value(0.0) == 10.0
    assert slowness.value(60.0) == pytest.approx(1 + 9 / 2.718, rel=0.01)
    slowness.observe(0.5, 600.0)
    assert 1.0 <= slowness.value(600.0) < 1.5
