"""Which deployment to ask next: strict tiers, and within one the better of two draws."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from hamlet.registry import Deployment, Reserved
from hamlet.routing.circuit_breaker import Lease
from hamlet.routing.cost_estimate import Demand
from hamlet.routing.deployment_state import Condition
from hamlet.routing.latency import Expectation

HOT = 0.8
CRITICAL_LIMIT, SHEDDABLE_LIMIT = 1.0, 0.85
_DRAWS = 4
_PANIC_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """A deployment in a tier, with what is known of it. `share` is its part of the traffic."""

    deployment: Deployment
    condition: Condition
    expectation: Expectation
    share: float


class Tier:
    """The members of one tier, ready for weighted draws."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.capacity = sum(m.share for m in members)
        self._sums = list(itertools.accumulate(m.share for m in members))

    def draw(self, rng: random.Random) -> Member:
        """One member, by share."""
        if len(self.members) == 1:
            return self.members[0]
        return self.members[bisect.bisect(self._sums, rng.random() * self._sums[-1])]


def share_of(deployment: Deployment) -> float:
    """The weight of a draw: reserved tokens a second, else what the config says."""
    capacity = deployment.capacity
    return capacity.tokens_per_s if isinstance(capacity, Reserved) else deployment.weight


class Look(Struct):
    """One look for a deployment: what is asked for, and what must not be asked any more.

    `spilled` tiers refused twice already; `spared` vendors are overloaded; `trouble` says that some
    breaker is open at all; `panic` ignores breakers that failures opened, `patient` that a
    deployment drags; `dragged` tells that somebody was left out for that. `limit` is how full a
    deployment may become by this call.
    """

    demand: Demand
    now: float
    rng: random.Random
    lease: Lease
    spared: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()
    spilled: frozenset[int] = frozenset()
    trouble: bool = True
    panic: bool = False
    patient: bool = False
    dragged: bool = False
    limit: float = CRITICAL_LIMIT

    def cost(self, member: Member) -> float:
        """What the call would be charged there."""
        demand, condition = self.demand, member.condition
        cached = condition.remembers(demand.prefixes, self.now) if demand.prefixes else 0.0
        return condition.ledger.cost(demand, cached)

    def fill(self, member: Member) -> float:
        """How full the call would leave it."""
        if self.demand.prefixes:
            return member.condition.ledger.fill(self.cost(member), self.now)
        ledger = member.condition.ledger
        return ledger.fill(ledger.cost(self.demand), self.now)

    def barred(self, member: Member) -> str | None:
        """Why the member may not be asked now, whatever its fill; None if it may."""
        deployment, condition = member.deployment, member.condition
        if self.tried and deployment.id in self.tried:
            return "tried"
        picky = self.demand.features or deployment.card.context_window is not None
        if picky and (reason := self.incapable(member)) is not None:
            return reason
        if self.now < condition.cooldown_until:
            return "cooling down"
        limit = deployment.max_in_flight
        if limit is not None and condition.in_flight >= limit:
            return "has as many calls as it may"
        if condition.breaker.opened and not self._let_in(condition):
            return f"breaker open ({condition.breaker.reason})"
        if self.spared and deployment.vendor in self.spared:
            return "its vendor is overloaded"
        return None

    def incapable(self, member: Member) -> str | None:
        """Why the member can never take the call; None if it can."""
        card = member.deployment.card
        if self.demand.features and not self.demand.features <= card.features:
            return "lacks a feature"
        window = card.context_window
        # The size is an estimate: only what is clearly too long is kept away.
        if window is not None and self.demand.input_tokens > 1.5 * window:
            return "its window is too short"
        return None

    def _let_in(self, condition: Condition) -> bool:
        breaker = condition.breaker
        if breaker.probe_due(self.now) and self.lease(condition.deployment_id):
            return True
        return self.panic and breaker.reason in ("failures", "slow")

    def score(self, member: Member) -> float:
        """Seconds to expect, by load: the lower the better."""
        demand, condition = self.demand, member.condition
        tokens = demand.likely_output
        if demand.stream:
            tokens = demand.input_tokens
            if demand.prefixes:
                tokens = max(0.0, tokens - condition.remembers(demand.prefixes, self.now))
        expected = member.expectation.of(tokens) * condition.slow(self.now)
        return expected * (condition.in_flight + 1) / member.share


_Drawn = tuple[float, Member]
"""How full the call would leave a member, and the member."""


def pick(tier: Tier, look: Look) -> Member | None:
    """The member of the tier to ask, or None if nobody has room."""
    if look.trouble and (probe := _to_probe(tier, look)):
        return probe
    first = _draw(tier, look, None)
    if first is None:
        roomy = [m for m in tier.members if _room(m, look) is not None]
        if not roomy:
            return None
        tier = Tier(roomy)
        first = _draw(tier, look, None, eager=True)
        assert first is not None, "all of these have room"
    if len(tier.members) == 1:
        return first[1]
    second = _affine(tier, look, first) or _draw(tier, look, first)
    return first[1] if second is None else _better(first, second, look)


def _to_probe(tier: Tier, look: Look) -> Member | None:
    """A member whose breaker wants to know if it is well again: it is asked first."""
    for member in tier.members:
        breaker = member.condition.breaker
        due = breaker.opened and breaker.probe_due(look.now)
        if due and look.barred(member) is None and look.fill(member) <= look.limit:
            return member
    return None


def _draw(tier: Tier, look: Look, other_than: _Drawn | None, eager: bool = False) -> _Drawn | None:
    """A few draws nearly always find a member with room, without a look at all of them.

    Members in their slow start are drawn less often, unless `eager`.
    """
    for _ in range(_DRAWS):
        member = tier.draw(look.rng)
        if other_than is not None and member is other_than[1]:
            continue
        fill = _room(member, look)
        if fill is not None:
            weight = member.condition.breaker.weight(look.now)
            if eager or weight >= 1 or look.rng.random() < weight:
                return fill, member
    return None


def _affine(tier: Tier, look: Look, other_than: _Drawn | None) -> _Drawn | None:
    """A member that has served the beginning of this prompt, if it has room."""
    if not look.demand.prefixes:
        return None
    for member in tier.members:
        known = member.condition.remembers(look.demand.prefixes, look.now)
        if known and (other_than is None or member is not other_than[1]):
            fill = _room(member, look)
            if fill is not None:
                return fill, member
    return None


def _room(member: Member, look: Look) -> float | None:
    """How full the call would leave the member; None if it cannot take it, or not in good time."""
    if look.barred(member) is not None:
        return None
    if not look.patient and member.condition.drags(look.now):
        look.dragged = True
        return None
    fill = look.fill(member)
    return fill if fill <= look.limit else None


def _better(one: _Drawn, other: _Drawn, look: Look) -> Member:
    """The cold one; of two hot ones the emptier, of two cold ones the quicker.

    Prequal's rule (Wydrowski et al., 2023), with utilisation for requests in flight.
    """
    hot = one[0] > HOT, other[0] > HOT
    if hot[0] != hot[1]:
        return other[1] if hot[0] else one[1]
    if hot[0]:
        return one[1] if one[0] <= other[0] else other[1]
    return one[1] if look.score(one[1]) <= look.score(other[1]) else other[1]


def panicking(tiers: Sequence[Tier]) -> bool:
    """Whether breakers leave so little everywhere that they do more harm than good.

    After Envoy's panic threshold; a tier below it counts only if no lower tier is whole.
    """
    return all(_closed_share(tier) < _PANIC_BELOW for tier in tiers)


def _closed_share(tier: Tier) -> float:
    closed = sum(m.share for m in tier.members if not m.condition.breaker.opened)
    return closed / tier.capacity
