"""What is read of fleet, admission and process at a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from hamlet.gateway import Attempt, Record
from hamlet.net.client.pool import Levels
from hamlet.registry import Deployment, Quota, Reserved, Route
from hamlet.routing import Condition, Fleet, Traffic
from hamlet.routing.capacity import ReservedLedger
from hamlet.routing.selection import HOT, Member
from hamlet.telemetry import labels as L
from hamlet.telemetry.exposition import Row

# Rights are renewed by the minute.
_SAID_S = 60.0
Routes = Callable[[], Mapping[str, Route]]


class FleetState:
    """Reads a fleet as it is now, for the routes in use."""

    def __init__(self, fleet: Fleet, routes: Routes) -> None:
        self._fleet = fleet
        self._routes = routes

    def rows(self) -> Iterator[Row]:
        """Every deployment and every route, once each."""
        deployments: dict[str, Deployment] = {}
        for route in self._routes().values():
            traffic = self._traffic(route)
            yield "hamlet_retry_budget_ratio", (route.name,), traffic.budget.share_left
            yield "hamlet_hedge_budget_ratio", (route.name,), traffic.hedges.share_left
            for i, tier in enumerate(route.tiers, 1):
                for deployment in tier:
                    deployments[deployment.id] = deployment
                    yield _info(route, i, deployment)
        now = self._fleet.clock()
        for deployment in deployments.values():
            yield from _rows(deployment, self._fleet.condition(deployment), now)

    def avoidable(self, record: Record, attempt: Attempt) -> bool:
        """Whether reserved capacity above the attempt's tier was well and had room."""
        route = self._routes().get(record.route)
        if route is None:
            return False
        now = self._fleet.clock()
        above = self._traffic(route).tiers[: attempt.tier]
        return any(_roomy(member, now) for tier in above for member in tier.members)

    def _traffic(self, route: Route) -> Traffic:
        return self._fleet.traffic(route, stream=route.operation == "chat")


def pool_rows(pools: Mapping[str, Levels]) -> Iterator[Row]:
    """The connections to each provider."""
    for provider, levels in pools.items():
        for state in ("busy", "idle", "opening"):
            count = getattr(levels, state)
            yield "hamlet_http_pool_connections", (provider, state), count
        yield "hamlet_http_pool_waiting", (provider,), levels.waiting
        yield "hamlet_http_pool_waits_total", (provider,), levels.waits
        yield "hamlet_http_pool_wait_seconds_total", (provider,), levels.waited_s


def _roomy(member: Member, now: float) -> bool:
    condition, limit = member.condition, member.deployment.max_in_flight
    return (
        isinstance(member.deployment.capacity, Reserved)
        and not condition.breaker.opened
        and now >= condition.cooldown_until
        and (limit is None or condition.in_flight < limit)
        and not condition.drags(now)
        and condition.ledger.fill(0, now) < HOT
    )


def _info(route: Route, tier: int, deployment: Deployment) -> Row:
    capacity = deployment.capacity
    kind = "quota" if isinstance(capacity, Quota) else "unknown"
    labels = (
        route.name,
        deployment.id,
        deployment.provider.name,
        deployment.model,
        deployment.region or "",
        str(tier),
        "reserved" if isinstance(capacity, Reserved) else kind,
    )
    return "hamlet_deployment_info", labels, 1.0


def _left(deployment: Deployment, condition: Condition, now: float) -> Iterator[Row]:
    """What a vendor left of a minute's rights; what it said longer ago says nothing."""
    said, capacity = condition.said, deployment.capacity
    if said is None or not isinstance(capacity, Quota) or now - condition.said_at > _SAID_S:
        return
    rights = (("tokens", said.tokens, capacity.tpm), ("requests", said.requests, capacity.rpm))
    for kind, left, most in rights:
        if left is not None and most:
            yield "hamlet_rate_limit_remaining_ratio", (deployment.id, kind), min(1.0, left / most)


def _rows(deployment: Deployment, condition: Condition, now: float) -> Iterator[Row]:
    of, ledger, breaker = (deployment.id,), condition.ledger, condition.breaker
    if deployment.capacity is not None:
        yield "hamlet_deployment_fill_ratio", of, ledger.fill(0, now)
    if isinstance(ledger, ReservedLedger) and isinstance(deployment.capacity, Reserved):
        yield "hamlet_deployment_depth_seconds", of, ledger.depth_s
        yield "hamlet_deployment_ptu", of, deployment.capacity.ptu
        rate = deployment.capacity.tokens_per_s
        yield "hamlet_deployment_capacity_tokens_per_second", of, rate
        yield "hamlet_deployment_charged_tokens_total", of, condition.charged
    yield from _left(deployment, condition, now)
    if deployment.max_in_flight is not None:
        yield "hamlet_deployment_limit", of, deployment.max_in_flight
    yield "hamlet_deployment_slowness_ratio", of, condition.slow(now)
    yield "hamlet_deployment_cooldown_seconds", of, max(0.0, condition.cooldown_until - now)
    yield "hamlet_deployment_in_flight", of, condition.in_flight
    yield "hamlet_circuit_changes_total", of, breaker.epoch
    state = breaker.state(now)
    for each in L.STATES:
        yield "hamlet_circuit_state", (deployment.id, each), each == state
