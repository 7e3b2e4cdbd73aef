"""What is known of all deployments, and which one to ask next."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from hamlet.core import Headroom, Usage, errors
from hamlet.core.errors import ProviderError
from hamlet.registry import Deployment, Route
from hamlet.routing.adaptive_throttle import VendorThrottle
from hamlet.routing.circuit_breaker import Lease
from hamlet.routing.cost_estimate import Demand, Estimator
from hamlet.routing.deployment_state import Condition
from hamlet.routing.failure_policy import judge, spread
from hamlet.routing.gossip.message import Standing
from hamlet.routing.latency import Expectation
from hamlet.routing.retry_budget import RetryBudget
from hamlet.routing.selection import (
    CRITICAL_LIMIT,
    SHEDDABLE_LIMIT,
    Look,
    Member,
    Tier,
    panicking,
    pick,
    share_of,
)

# Hedges are at most this part of a route's calls.
HEDGES = 0.05

_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class News:
    """What this process has learned and others have not heard of yet."""

    costs: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    touched: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is kept per route: how it is tiered, what its calls are like, what it may retry."""

    route: Route
    tiers: tuple[Tier, ...]
    estimator: Estimator
    budget: RetryBudget
    hedges: RetryBudget
    size: int


class Choice(Struct, frozen=True):
    """The deployment to ask. A `probe` finds out if it is well again, and wants a backup."""

    member: Member
    tier: int
    probe: bool = False

    @property
    def deployment(self) -> Deployment:
        return self.member.deployment


class Wait(Struct, frozen=True):
    """Nobody has room for `seconds`; `throttled` if they asked for that wait themselves."""

    seconds: float
    throttled: bool


class Booking(Struct, eq=False):
    """One attempt as the ledgers know it; ends with `settle`, once."""

    member: Member
    demand: Demand
    cost: float
    started: float
    probe: bool = False
    open: bool = True
    headroom: Headroom | None = None
    tier: int = 0


class Fleet:
    """Learns from every attempt, and chooses for the next. Nothing here waits or does I/O.

    `clock` gives monotonic seconds; `lease` says whether this process may probe a deployment.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        lease: Lease = lambda _: True,
    ) -> None:
        self.clock = clock
        self.lease = lease
        self.news: News | None = None
        # Told of each deployment whose breaker may have changed.
        self.watch: Callable[[Condition], None] = lambda _: None
        self.rng = rng or random.Random()
        self._conditions: dict[str, Condition] = {}
        self._expectations: dict[tuple[str, bool], Expectation] = {}
        self._throttles: dict[str, VendorThrottle] = {}
        self._traffic: dict[tuple[str, bool], Traffic] = {}
        self._opened: set[str] = set()

    # -- what is known

    def traffic(self, route: Route, *, stream: bool = True) -> Traffic:
        """The route's own state; made anew, but for what it has learned, when the route changes."""
        known = self._traffic.get((route.name, stream))
        if known is not None and known.route is route:
            return known
        tiers = (self._members(route, tier, stream) for tier in route.tiers)
        kept = known or self._traffic.get((route.name, not stream))
        built = tuple(Tier(members) for members in tiers if members)
        made = Traffic(
            route,
            built,
            kept.estimator if kept else Estimator(),
            kept.budget if kept else RetryBudget(route.policy.retry_budget),
            kept.hedges if kept else RetryBudget(HEDGES, cap=1 / HEDGES),
            sum(len(tier.members) for tier in built),
        )
        self._traffic[route.name, stream] = made
        return made

    def condition(self, deployment: Deployment) -> Condition:
        """What is known of a deployment."""
        now = self.clock()
        known = self._conditions.get(deployment.id)
        if known is None:
            known = self._conditions[deployment.id] = Condition(deployment, self.rng, now)
        known.fit_to(deployment, now)
        return known

    @property
    def conditions(self) -> dict[str, Condition]:
        """All conditions by deployment id."""
        return self._conditions

    def _members(self, route: Route, tier: Iterable[Deployment], stream: bool) -> list[Member]:
        homes = route.residency
        return [
            Member(d, self.condition(d), self._expectation(d.model, stream), share_of(d))
            for d in tier
            if not homes or d.region in homes or d.data_zone in homes
        ]

    def _expectation(self, model: str, stream: bool) -> Expectation:
        return self._expectations.setdefault((model, stream), Expectation())

    def _throttle(self, vendor: str) -> VendorThrottle:
        known = self._throttles.get(vendor)
        if known is None:
            known = self._throttles[vendor] = VendorThrottle(self.rng)
        return known

    # -- choosing

    def look(
        self,
        demand: Demand,
        tried: frozenset[str] = _NOBODY,
        spilled: frozenset[int] = frozenset(),
    ) -> Look:
        """A look at the fleet now; valid for one choice."""
        now, trouble = self.clock(), bool(self._opened)
        spared = _NOBODY
        for vendor, throttle in self._throttles.items():
            if throttle.active and throttle.spares(now):
                spared |= {vendor}
        limit = SHEDDABLE_LIMIT if demand.sheddable else CRITICAL_LIMIT
        return Look(demand, now, self.rng, self.lease, spared, tried, spilled, trouble, limit=limit)

    def choose(self, traffic: Traffic, look: Look) -> Choice | None:
        """The deployment to ask now, or None if nobody has room."""
        if look.trouble and panicking(traffic.tiers):
            look.panic = True
        choice = self._choose(traffic, look)
        if choice is None and look.dragged:
            # A slow one with room is better than a wait for somebody who is full.
            look.patient = True
            choice = self._choose(traffic, look)
        return choice

    def _choose(self, traffic: Traffic, look: Look) -> Choice | None:
        """Somebody of the first tier that has anybody."""
        for i, tier in enumerate(traffic.tiers):
            if i in look.spilled:
                continue
            member = pick(tier, look)
            if member is not None:
                breaker = member.condition.breaker
                probe = breaker.opened and breaker.probe_due(look.now)
                if probe:
                    breaker.start_probe(look.now)
                return Choice(member, i, probe)
        return None

    def least_full(self, traffic: Traffic, look: Look) -> Choice | None:
        """The one to ask although our ledger says it is full: the ledger is a guess, after all."""
        open_ones = [
            (look.fill(member), i, member)
            for i, tier in enumerate(traffic.tiers)
            for member in tier.members
            if look.barred(member) is None
        ]
        if not open_ones:
            return None
        _, i, member = min(open_ones, key=lambda row: row[:2])
        return Choice(member, i)

    def earliest(self, traffic: Traffic, look: Look) -> Wait | None:
        """When somebody will have room; None if nobody can ever take the call."""
        waits = [
            self._wait(member, look)
            for tier in traffic.tiers
            for member in tier.members
            if look.incapable(member) is None
        ]
        return min(waits, key=lambda wait: wait.seconds, default=None)

    def _wait(self, member: Member, look: Look) -> Wait:
        condition, now = member.condition, look.now
        cooldown = condition.cooldown_until - now
        room = condition.ledger.free_in(look.cost(member), look.limit, now)
        opens = condition.breaker.until - now if condition.breaker.opened else 0.0
        return Wait(max(cooldown, room, opens, 0.0), throttled=opens <= 0.0)

    # -- learning

    def begin(self, choice: Choice, demand: Demand) -> Booking:
        """An attempt begins: charge it, count it. Must be settled."""
        member, now = choice.member, self.clock()
        condition = member.condition
        cached = condition.remembers(demand.prefixes, now) if demand.prefixes else 0.0
        cost = condition.ledger.cost(demand, cached)
        condition.ledger.book(cost, now)
        condition.in_flight += 1
        condition.used_at = now
        if self.news is not None:
            self.news.costs[condition.deployment_id] += cost
            self.news.calls[condition.deployment_id] += 1
        booking = Booking(member, demand, cost, now, choice.probe, tier=choice.tier)
        if demand.stream:
            # How long a whole answer takes is its length's doing, which nobody knows yet.
            fresh = max(0.0, demand.input_tokens - cached)
            condition.owes(booking, now, member.expectation.of(fresh))
        return booking

    def succeeded(self, booking: Booking, tokens: float | None = None) -> None:
        """The attempt committed. `tokens` is what a whole answer turned out to have."""
        condition, now = booking.member.condition, self.clock()
        if booking.demand.stream:
            condition.owes_no_more(booking)
        condition.throttles = 0
        self._throttle(booking.member.deployment.vendor).asked(now, overloaded=False)
        if booking.demand.prefixes:
            condition.remember(booking.demand.prefixes, now)
        if booking.headroom is not None:
            condition.ledger.hint(booking.headroom, now)
            condition.said, condition.said_at = booking.headroom, now
        if booking.headroom is None or not booking.headroom.spilled:
            self._sample(booking, now, tokens)
        was_out = condition.breaker.opened
        condition.breaker.succeeded(now)
        if was_out and not condition.breaker.opened:
            condition.heal(now)
        # An answer may also open it, by having been far too slow.
        if self._opened or condition.breaker.opened:
            self._track(condition)

    def failed(self, booking: Booking, error: ProviderError) -> None:
        """The attempt, or the answer after its commit, failed."""
        member, now = booking.member, self.clock()
        condition, deployment = member.condition, member.deployment
        overloaded = isinstance(error, errors.Overloaded)
        self._throttle(deployment.vendor).asked(now, overloaded=overloaded)
        if isinstance(error, errors.UpstreamTimeout) and error.phase != "stream":
            expected = member.expectation.of(self._regressor(booking, None))
            condition.slowness.sample((now - booking.started) / expected, now)
        judge(condition, error, now, self.rng)
        if isinstance(error, (errors.QuotaExhausted, errors.Overloaded)):
            purse, region = self._kin(member)
            spread(error, purse, region, now)
            for other in (*purse, *region):
                self._track(other)
        self._track(condition)

    def cancelled(self, booking: Booking) -> None:
        """The attempt was called off: nobody is to blame. Settles it.

        But a probe that a backup has overtaken in what would have been good time was too slow.
        """
        if booking.probe:
            member, now = booking.member, self.clock()
            expected = member.expectation.of(self._regressor(booking, None))
            if now - booking.started > expected:
                member.condition.breaker.failed(now)
            else:
                member.condition.breaker.abandon_probe(now)
            self._track(member.condition)
        self.settle(booking)

    def settle(self, booking: Booking, usage: Usage | None = None, seen: float = 0.0) -> None:
        """The attempt is over. Without usage it cost its prompt and the tokens `seen`.

        A refused attempt has cost nothing: say `Usage(0, 0)`.
        """
        if not booking.open:
            return
        booking.open = False
        member = booking.member
        condition, now = member.condition, self.clock()
        condition.in_flight -= 1
        if booking.demand.stream:
            condition.owes_no_more(booking)
        used = condition.ledger.used(usage) if usage is not None else None
        if used is None:
            demand = booking.demand
            read, written = round(demand.input_tokens), round(seen)
            used = condition.ledger.used(Usage(read, written))
        condition.charged += booking.cost if used is None else used
        if used is not None:
            condition.ledger.correct(used - booking.cost, now)
            if self.news is not None:
                self.news.costs[condition.deployment_id] += used - booking.cost

    def absorb(self, condition: Condition, said: Standing) -> None:
        """Take in what another process knows; it is no news to pass on."""
        condition.absorb(said, self.clock())
        self._list(condition)

    def _sample(self, booking: Booking, now: float, tokens: float | None) -> None:
        member = booking.member
        x = self._regressor(booking, tokens)
        ratio = member.expectation.learn(x, now - booking.started)
        member.condition.slowness.sample(ratio, now)
        member.condition.breaker.answered(ratio, now)

    def _regressor(self, booking: Booking, tokens: float | None) -> float:
        demand = booking.demand
        if demand.stream:
            cached = booking.member.condition.remembers(demand.prefixes, booking.started)
            return max(0.0, demand.input_tokens - cached)
        return demand.likely_output if tokens is None else tokens

    def _kin(self, member: Member) -> tuple[list[Condition], list[Condition]]:
        """The others of its purse, and the others of its vendor in its region."""
        own = member.deployment
        others = {
            m.deployment.id: m
            for traffic in self._traffic.values()
            for tier in traffic.tiers
            for m in tier.members
            if m.deployment.id != own.id
        }.values()
        place = (own.vendor, own.region)
        return (
            [m.condition for m in others if own.quota_group == m.deployment.quota_group != ""],
            [
                m.condition
                for m in others
                if own.region and place == (m.deployment.vendor, m.deployment.region)
            ],
        )

    def _track(self, condition: Condition) -> None:
        self._list(condition)
        if self.news is not None:
            self.news.touched.add(condition.deployment_id)

    def _list(self, condition: Condition) -> None:
        if condition.breaker.opened:
            self._opened.add(condition.deployment_id)
        else:
            self._opened.discard(condition.deployment_id)
        self.watch(condition)
