"""How the estimate of a route's tokens learns from usage."""

import pytest

from hamlet.core import Usage
from hamlet.routing.cost_estimate import TokenEstimator


def test_estimates_learn_from_usage() -> None:
    estimator = TokenEstimator()
    assert estimator.estimate_input_tokens(4000) == pytest.approx(1000)
    for _ in range(200):
        estimator.learn(4000, Usage(2000, 50))
    assert estimator.estimate_input_tokens(4000) == pytest.approx(2000, rel=0.01)
    assert estimator.estimate_output_tokens(None) == (pytest.approx(50, rel=0.05),) * 2
    assert estimator.estimate_output_tokens(400) == (400.0, pytest.approx(50, rel=0.05))
    assert estimator.estimate_output_tokens(10) == (10.0, 10.0)


def test_estimates_ignore_invalid_usage() -> None:
    estimator = TokenEstimator()
    for usage in (Usage(9, 9, estimated=True), Usage(-5, -5), Usage()):
        estimator.learn(10_000, usage)
    estimator.learn(0, Usage(100, None))
    assert estimator.estimate_input_tokens(4) == 1.0
    assert estimator.estimate_output_tokens(None)[0] == 300.0
