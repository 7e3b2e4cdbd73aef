"""Gauges of deployments, routes and connection pools, read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from hamlet.gateway import Attempt, CallRecord
from hamlet.net.client.pool import PoolStats
from hamlet.registry import Deployment, Quota, ReservedThroughput, Route
from hamlet.routing import DeploymentState, LoadBalancer, RouteState
from hamlet.routing.capacity_model import ReservedCapacity
from hamlet.routing.selection import HOT_FILL, Candidate
from hamlet.telemetry import labels as L
from hamlet.telemetry.exposition import MetricSample

# Vendors renew quotas every minute.
_QUOTA_MAX_AGE_S = 60.0
GetRoutes = Callable[[], Mapping[str, Route]]


class RoutingMetrics:
    """Reads the load balancer's current state, for the routes in use."""

    def __init__(self, load_balancer: LoadBalancer, get_routes: GetRoutes) -> None:
        self._load_balancer = load_balancer
        self._get_routes = get_routes

    def samples(self) -> Iterator[MetricSample]:
        """The samples of every deployment and every route, once each."""
        deployments: dict[str, Deployment] = {}
        for route in self._get_routes().values():
            route_state = self._route_state(route)
            yield (
                "hamlet_retry_budget_ratio",
                (route.name,),
                route_state.retry_budget.remaining_ratio,
            )
            yield (
                "hamlet_hedge_budget_ratio",
                (route.name,),
                route_state.hedge_budget.remaining_ratio,
            )
            for i, tier in enumerate(route.tiers, 1):
                for deployment in tier:
                    deployments[deployment.id] = deployment
                    yield _info_sample(route, i, deployment)
        now = self._load_balancer.clock()
        for deployment in deployments.values():
            yield from _deployment_samples(
                deployment, self._load_balancer.deployment_state(deployment), now
            )

    def is_avoidable_spill(self, record: CallRecord, attempt: Attempt) -> bool:
        """Whether reserved capacity in a tier above the attempt's is healthy and has room."""
        route = self._get_routes().get(record.route)
        if route is None:
            return False
        now = self._load_balancer.clock()
        higher_tiers = self._route_state(route).tiers[: attempt.tier]
        return any(_has_room(member, now) for tier in higher_tiers for member in tier.candidates)

    def _route_state(self, route: Route) -> RouteState:
        return self._load_balancer.route_state(route, stream=route.operation == "chat")


def pool_samples(pools: Mapping[str, PoolStats]) -> Iterator[MetricSample]:
    """The samples of the connection pool of each provider."""
    for provider, stats in pools.items():
        for state in ("busy", "idle", "opening"):
            count = getattr(stats, state)
            yield "hamlet_http_pool_connections", (provider, state), count
        yield "hamlet_http_pool_waiting", (provider,), stats.waiting
        yield "hamlet_http_pool_waits_total", (provider,), stats.waits
        yield "hamlet_http_pool_wait_seconds_total", (provider,), stats.waited_s


def _has_room(candidate: Candidate, now: float) -> bool:
    deployment_state, limit = candidate.state, candidate.deployment.max_in_flight
    return (
        isinstance(candidate.deployment.capacity, ReservedThroughput)
        and not deployment_state.breaker.is_tripped
        and now >= deployment_state.cooldown_until
        and (limit is None or deployment_state.in_flight < limit)
        and not deployment_state.is_outlier(now)
        and deployment_state.capacity_model.fill(0, now) < HOT_FILL
    )


def _info_sample(route: Route, tier: int, deployment: Deployment) -> MetricSample:
    capacity = deployment.capacity
    kind = "quota" if isinstance(capacity, Quota) else "unknown"
    labels = (
        route.name,
        deployment.id,
        deployment.provider.name,
        deployment.model,
        deployment.region or "",
        str(tier),
        "reserved" if isinstance(capacity, ReservedThroughput) else kind,
    )
    return "hamlet_deployment_info", labels, 1.0


def _quota_samples(
    deployment: Deployment, deployment_state: DeploymentState, now: float
) -> Iterator[MetricSample]:
    """The share of the current minute's quota left; a report older than a minute says nothing."""
    observed, capacity = deployment_state.headroom, deployment.capacity
    if (
        observed is None
        or not isinstance(capacity, Quota)
        or now - deployment_state.headroom_at > _QUOTA_MAX_AGE_S
    ):
        return
    limits = (
        ("tokens", observed.tokens, capacity.tpm),
        ("requests", observed.requests, capacity.rpm),
    )
    for kind, left, limit in limits:
        if left is not None and limit:
            yield "hamlet_rate_limit_remaining_ratio", (deployment.id, kind), min(1.0, left / limit)


def _deployment_samples(
    deployment: Deployment, deployment_state: DeploymentState, now: float
) -> Iterator[MetricSample]:
    labels, capacity_model, breaker = (
        (deployment.id,),
        deployment_state.capacity_model,
        deployment_state.breaker,
    )
    if deployment.capacity is not None:
        yield "hamlet_deployment_fill_ratio", labels, capacity_model.fill(0, now)
    if isinstance(capacity_model, ReservedCapacity) and isinstance(
        deployment.capacity, ReservedThroughput
    ):
        yield "hamlet_deployment_depth_seconds", labels, capacity_model.depth_s
        yield "hamlet_deployment_ptu", labels, deployment.capacity.ptu
        rate = deployment.capacity.tokens_per_s
        yield "hamlet_deployment_capacity_tokens_per_second", labels, rate
        yield "hamlet_deployment_charged_tokens_total", labels, deployment_state.charged_tokens
    yield from _quota_samples(deployment, deployment_state, now)
    if deployment.max_in_flight is not None:
        yield "hamlet_deployment_limit", labels, deployment.max_in_flight
    yield "hamlet_deployment_slowness_ratio", labels, deployment_state.slowness_factor(now)
    yield (
        "hamlet_deployment_cooldown_seconds",
        labels,
        max(0.0, deployment_state.cooldown_until - now),
    )
    yield "hamlet_deployment_in_flight", labels, deployment_state.in_flight
    yield "hamlet_circuit_changes_total", labels, breaker.epoch
    state = breaker.state(now)
    for circuit_state in L.CIRCUIT_STATES:
        yield "hamlet_circuit_state", (deployment.id, circuit_state), circuit_state == state
