"""Slow deployments get fewer calls; late pending calls count like slow responses."""

import pytest

from hamlet.core import Usage
from hamlet.registry import Deployment
from hamlet.routing import CostEstimate, Reservation, Selection
from support.routing import RoutingHarness, stub_deployment

REQUEST_COST = CostEstimate(100, 100, 100)


def start_call(
    harness: RoutingHarness, name: str, estimate: CostEstimate = REQUEST_COST
) -> Reservation:
    """A call in flight to a deployment."""
    members = [
        m
        for tier in harness.load_balancer.route_state(harness.route).tiers
        for m in tier.candidates
    ]
    candidate = next(m for m in members if m.deployment.id == f"{name}/m")
    return harness.load_balancer.reserve(Selection(candidate, 0), estimate)


def complete_call(harness: RoutingHarness, name: str, seconds: float) -> None:
    """A call whose first content took so long."""
    reservation = start_call(harness, name)
    harness.clock.advance(seconds)
    harness.load_balancer.record_success(reservation)
    harness.load_balancer.settle(reservation, Usage(100, 100))


def harness_with_history(*tiers: list[Deployment]) -> RoutingHarness:
    """A load balancer that expects a latency of half a second."""
    harness = RoutingHarness(*tiers)
    for _ in range(60):
        complete_call(harness, "a", 0.5)
    return harness


@pytest.fixture
def harness() -> RoutingHarness:
    harness = harness_with_history([stub_deployment("a"), stub_deployment("b")])
    assert set(harness.count_selections()) == {"a", "b"}
    return harness


def test_two_slow_responses_make_an_outlier(harness: RoutingHarness) -> None:
    complete_call(harness, "a", 5.0)
    assert not harness.deployment_state("a").is_outlier(harness.clock())
    complete_call(harness, "a", 5.0)
    assert harness.deployment_state("a").is_outlier(harness.clock())
    assert harness.count_selections() == {"b": 200}


def test_pending_late_calls_count_as_slow_responses(harness: RoutingHarness) -> None:
    start_call(harness, "a")
    harness.clock.advance(1.0)
    second = start_call(harness, "a")
    harness.clock.advance(1.5)
    assert not harness.deployment_state("a").is_outlier(harness.clock()), (
        "one of them is late by now"
    )
    harness.clock.advance(1.0)
    assert harness.deployment_state("a").is_outlier(harness.clock())
    assert harness.count_selections() == {"b": 200}
    harness.load_balancer.record_success(second)
    harness.load_balancer.settle(second, Usage(100, 100))
    assert harness.deployment_state("a").is_outlier(harness.clock()), (
        "one is late, and one came late"
    )


def test_late_response_and_late_pending_call_make_an_outlier(harness: RoutingHarness) -> None:
    complete_call(harness, "a", 5.0)
    start_call(harness, "a")
    harness.clock.advance(5.0)
    assert harness.deployment_state("a").is_outlier(harness.clock())


def test_failed_or_cancelled_call_is_not_pending(harness: RoutingHarness) -> None:
    first, second = start_call(harness, "a"), start_call(harness, "a")
    harness.clock.advance(5.0)
    harness.load_balancer.cancel(first)
    harness.load_balancer.settle(second, Usage(0, 0))
    assert not harness.deployment_state("a").is_outlier(harness.clock())


def test_recovering_outlier_gets_one_call_at_a_time(harness: RoutingHarness) -> None:
    complete_call(harness, "a", 5.0)
    complete_call(harness, "a", 5.0)
    harness.clock.advance(90.0)
    assert "a" in harness.count_selections()
    trial = start_call(harness, "a")
    assert harness.count_selections() == {"b": 200}
    harness.clock.advance(0.5)
    harness.load_balancer.record_success(trial)
    harness.load_balancer.settle(trial, Usage(100, 100))
    start_call(harness, "a")
    assert "a" in harness.count_selections(), "its trial call was fast"


def test_non_streaming_response_is_not_an_outlier(harness: RoutingHarness) -> None:
    whole = CostEstimate(100, 100, 100, stream=False)
    for _ in range(3):
        start_call(harness, "a", whole)
    harness.clock.advance(30.0)
    assert not harness.deployment_state("a").is_outlier(harness.clock())


def test_outlier_is_used_if_it_is_the_only_one() -> None:
    alone = harness_with_history([stub_deployment("a")])
    complete_call(alone, "a", 5.0)
    complete_call(alone, "a", 5.0)
    assert alone.deployment_state("a").is_outlier(alone.clock())
    assert alone.count_selections() == {"a": 200}


def test_fast_lower_tier_is_preferred_to_outlier() -> None:
    harness = harness_with_history([stub_deployment("a")], [stub_deployment("paid", None)])
    assert harness.count_selections() == {"a": 200}
    complete_call(harness, "a", 5.0)
    complete_call(harness, "a", 5.0)
    assert harness.count_selections() == {"paid": 200}
