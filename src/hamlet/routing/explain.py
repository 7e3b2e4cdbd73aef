"""Explains which deployment a call would get now, and why others are left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hamlet.registry import Capacity, Deployment, Quota, ReservedThroughput, Route
from hamlet.routing.capacity_model import ReservedCapacity
from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.load_balancer import LoadBalancer
from hamlet.routing.route_state import RouteState
from hamlet.routing.selection import (
    Candidate,
    SelectionContext,
    Tier,
    is_panicking,
    pick_two_choices,
)

_SAMPLES = 400


@dataclass(frozen=True, slots=True)
class ExplainRow:
    """One deployment from the point of view of a call.

    `tier` counts from 1. `fill` is the part of its capacity in use, `fill_with` with the call
    added; `chance` is the part of such calls that would go to it now. `cooldown_s` and `opens_in_s`
    are the remaining seconds. `verdict` is "in", or why the deployment is left out.
    """

    tier: int
    deployment: str
    region: str
    capacity: str
    fill: float
    fill_with: float
    depth_s: float | None
    in_flight: int  # calls
    expected_s: float
    slowness: float  # factor over the expected latency, from 1
    cooldown_s: float
    breaker: str
    opens_in_s: float
    verdict: str
    chance: float


def explain_selection(
    load_balancer: LoadBalancer, route: Route, estimate: CostEstimate
) -> list[ExplainRow]:
    """All deployments of a route, in its order. Samples selections; changes no state."""
    route_state = load_balancer.route_state(route, stream=estimate.stream)
    context = load_balancer.build_context(estimate)
    context.panic = context.any_tripped and is_panicking(route_state.tiers)
    counts = _selection_counts(route_state, context)
    rows = [
        _candidate_row(i, candidate, context, counts)
        for i, tier in enumerate(route_state.tiers, 1)
        for candidate in tier.candidates
    ]
    included = {row.deployment for row in rows}
    return rows + [
        _excluded_row(i, deployment)
        for i, level in enumerate(route.tiers, 1)
        for deployment in level
        if deployment.id not in included
    ]


def _selection_counts(route_state: RouteState, context: SelectionContext) -> Counter[str]:
    tier: Tier | None = next(
        (t for t in route_state.tiers if pick_two_choices(t, context) is not None), None
    )
    if tier is None:
        return Counter()
    drawn = (pick_two_choices(tier, context) for _ in range(_SAMPLES))
    return Counter(candidate.deployment.id for candidate in drawn if candidate is not None)


def _candidate_row(
    tier: int, candidate: Candidate, context: SelectionContext, counts: Counter[str]
) -> ExplainRow:
    deployment, state, now = candidate.deployment, candidate.state, context.now
    capacity_model, breaker = state.capacity_model, state.breaker
    tokens = (
        context.estimate.input_tokens
        if context.estimate.stream
        else context.estimate.likely_output_tokens
    )
    fill = context.fill(candidate)
    has_room = fill <= context.max_fill
    return ExplainRow(
        tier=tier,
        deployment=deployment.id,
        region=deployment.region or "",
        capacity=_format_capacity(deployment.capacity),
        fill=capacity_model.fill(0, now),
        fill_with=fill,
        depth_s=capacity_model.depth_s if isinstance(capacity_model, ReservedCapacity) else None,
        in_flight=state.in_flight,
        expected_s=candidate.latency_model.predict_s(tokens) * state.slowness_factor(now),
        slowness=state.slowness_factor(now),
        cooldown_s=max(0.0, state.cooldown_until - now),
        breaker=breaker.state(now),
        opens_in_s=max(0.0, breaker.open_until - now) if breaker.is_tripped else 0.0,
        verdict=context.rejection_reason(candidate) or ("in" if has_room else "full"),
        chance=counts[deployment.id] / _SAMPLES,
    )


def _excluded_row(tier: int, deployment: Deployment) -> ExplainRow:
    """A deployment that the route's residency excludes."""
    return ExplainRow(
        tier=tier,
        deployment=deployment.id,
        region=deployment.region or "",
        capacity=_format_capacity(deployment.capacity),
        fill=0.0,
        fill_with=0.0,
        depth_s=None,
        in_flight=0,
        expected_s=0.0,
        slowness=1.0,
        cooldown_s=0.0,
        breaker="closed",
        opens_in_s=0.0,
        verdict="outside the route's residency",
        chance=0.0,
    )


def _format_capacity(capacity: Capacity | None) -> str:
    if isinstance(capacity, ReservedThroughput):
        return f"{capacity.ptu} PTU"
    if isinstance(capacity, Quota):
        parts = (
            f"{capacity.tpm} TPM" if capacity.tpm else "",
            f"{capacity.rpm} RPM" if capacity.rpm else "",
        )
        return " ".join(part for part in parts if part)
    return ""
