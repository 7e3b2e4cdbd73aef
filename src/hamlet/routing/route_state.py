"""What the load balancer keeps for each route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamlet.registry import Route
from hamlet.routing.cost_estimate import TokenEstimator
from hamlet.routing.retry_budget import RetryBudget
from hamlet.routing.selection import Candidate, Tier

# Hedges are at most this part of a route's calls.
MAX_HEDGE_RATIO = 0.05


@dataclass(frozen=True, slots=True)
class RouteState:
    """The route's tiers, its token estimator and its budgets for retries and hedges."""

    route: Route
    tiers: tuple[Tier, ...]
    estimator: TokenEstimator
    retry_budget: RetryBudget
    hedge_budget: RetryBudget
    candidate_count: int


def build_route_state(
    route: Route, candidates: Sequence[Sequence[Candidate]], previous: RouteState | None
) -> RouteState:
    """Rank the candidates by tier; what `previous` has learned stays, whatever a reload changed."""
    tiers = tuple(Tier(tier) for tier in candidates if tier)
    candidate_count = sum(len(tier.candidates) for tier in tiers)
    if previous is None:
        return RouteState(
            route,
            tiers,
            TokenEstimator(),
            RetryBudget(route.policy.retry_budget),
            RetryBudget(MAX_HEDGE_RATIO, max_balance=1 / MAX_HEDGE_RATIO),
            candidate_count,
        )
    return RouteState(
        route,
        tiers,
        previous.estimator,
        previous.retry_budget,
        previous.hedge_budget,
        candidate_count,
    )
