"""How a selection is explained."""

import pytest

from hamlet.registry import Quota
from hamlet.routing import CostEstimate, ExplainRow, explain_selection
from support.routing import RoutingHarness, stub_deployment

ESTIMATE = CostEstimate(1000, 1000, 1000)


def explain(harness: RoutingHarness, estimate: CostEstimate = ESTIMATE) -> dict[str, ExplainRow]:
    rows = explain_selection(harness.load_balancer, harness.route, estimate)
    return {row.deployment.split("/")[0]: row for row in rows}


def test_chances_and_fills_of_available_deployments() -> None:
    harness = RoutingHarness(
        [stub_deployment("a", region="kr"), stub_deployment("b")],
        [stub_deployment("c", Quota(60_000, 600)), stub_deployment("d", None)],
    )
    rows = explain(harness)
    a, c, d = rows["a"], rows["c"], rows["d"]
    assert (a.tier, a.region, a.capacity, a.depth_s, a.verdict) == (1, "kr", "24 PTU", 30.0, "in")
    assert (a.fill, a.fill_with) == (0.0, pytest.approx(4000 / 30_000))
    assert a.chance + rows["b"].chance == 1.0
    assert (c.tier, c.capacity, c.depth_s, c.chance) == (2, "60000 TPM 600 RPM", None, 0.0)
    assert d.capacity == ""


def test_reasons_of_deployments_that_are_left_out() -> None:
    harness = RoutingHarness(
        [stub_deployment(name, region="kr") for name in ("full", "cooling", "open")],
        [stub_deployment("elsewhere", Quota(None, 60), region="us")],
        residency=frozenset({"kr"}),
    )
    now = harness.clock()
    harness.deployment_state("full").capacity_model.reserve(30_000, now)
    harness.deployment_state("cooling").cool_down(7.0, now)
    harness.deployment_state("open").breaker.open("config", now, 60.0)
    rows = explain(harness)
    assert rows["full"].verdict == "full"
    assert (rows["cooling"].verdict, rows["cooling"].cooldown_s) == ("cooling down", 7.0)
    assert (rows["open"].verdict, rows["open"].breaker) == ("breaker open (config)", "open")
    assert rows["open"].opens_in_s == 60.0
    elsewhere = rows["elsewhere"]
    assert (elsewhere.verdict, elsewhere.capacity) == ("outside the route's residency", "60 RPM")
    assert all(row.chance == 0.0 for row in rows.values())


def test_whole_responses_are_expected_by_their_output() -> None:
    harness = RoutingHarness([stub_deployment("a")])
    short = explain(harness, CostEstimate(9000, 10, 10, stream=False))["a"].expected_s
    long = explain(harness, CostEstimate(9000, 9000, 9000, stream=False))["a"].expected_s
    assert short < long
