"""The plan that a call would get now, and why each deployment is in it or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hamlet.registry import Capacity, Deployment, Quota, Reserved, Route
from hamlet.routing.capacity import ReservedLedger
from hamlet.routing.cost_estimate import Demand
from hamlet.routing.load_balancer import Fleet, Traffic
from hamlet.routing.selection import Look, Member, Tier, panicking, pick

_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Row:
    """One deployment as a call sees it.

    `tier` counts from 1. `fill` is the part of its capacity in use, `fill_with` with the call on
    top; `chance` is the part of such calls that would go to it now. Seconds are what is left.
    `verdict` is "in", or why it is left out.
    """

    tier: int
    deployment: str
    region: str
    capacity: str
    fill: float
    fill_with: float
    depth_s: float | None
    in_flight: int
    expected_s: float
    slowness: float
    cooldown_s: float
    breaker: str
    opens_in_s: float
    verdict: str
    chance: float


def explain(fleet: Fleet, route: Route, demand: Demand) -> list[Row]:
    """All deployments of a route in its order. Draws many times, and changes nothing."""
    traffic = fleet.traffic(route, stream=demand.stream)
    look = fleet.look(demand)
    look.panic = look.trouble and panicking(traffic.tiers)
    chances = _chances(traffic, look)
    rows = [
        _row(i, member, look, chances)
        for i, tier in enumerate(traffic.tiers, 1)
        for member in tier.members
    ]
    kept = {row.deployment for row in rows}
    return rows + [
        _kept_out(i, deployment)
        for i, level in enumerate(route.tiers, 1)
        for deployment in level
        if deployment.id not in kept
    ]


def _chances(traffic: Traffic, look: Look) -> Counter[str]:
    tier: Tier | None = next((t for t in traffic.tiers if pick(t, look) is not None), None)
    if tier is None:
        return Counter()
    drawn = (pick(tier, look) for _ in range(_DRAWS))
    return Counter(member.deployment.id for member in drawn if member is not None)


def _row(tier: int, member: Member, look: Look, chances: Counter[str]) -> Row:
    deployment, condition, now = member.deployment, member.condition, look.now
    ledger, breaker = condition.ledger, condition.breaker
    tokens = look.demand.input_tokens if look.demand.stream else look.demand.likely_output
    fill = look.fill(member)
    room = fill <= look.limit
    return Row(
        tier=tier,
        deployment=deployment.id,
        region=deployment.region or "",
        capacity=_capacity(deployment.capacity),
        fill=ledger.fill(0, now),
        fill_with=fill,
        depth_s=ledger.depth_s if isinstance(ledger, ReservedLedger) else None,
        in_flight=condition.in_flight,
        expected_s=member.expectation.of(tokens) * condition.slow(now),
        slowness=condition.slow(now),
        cooldown_s=max(0.0, condition.cooldown_until - now),
        breaker=breaker.state(now),
        opens_in_s=max(0.0, breaker.until - now) if breaker.opened else 0.0,
        verdict=look.barred(member) or ("in" if room else "full"),
        chance=chances[deployment.id] / _DRAWS,
    )


def _kept_out(tier: int, deployment: Deployment) -> Row:
    """A deployment that residency keeps out for good."""
    return Row(
        tier=tier,
        deployment=deployment.id,
        region=deployment.region or "",
        capacity=_capacity(deployment.capacity),
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


def _capacity(capacity: Capacity | None) -> str:
    if isinstance(capacity, Reserved):
        return f"{capacity.ptu} PTU"
    if isinstance(capacity, Quota):
        parts = (
            f"{capacity.tpm} TPM" if capacity.tpm else "",
            f"{capacity.rpm} RPM" if capacity.rpm else "",
        )
        return " ".join(part for part in parts if part)
    return ""
