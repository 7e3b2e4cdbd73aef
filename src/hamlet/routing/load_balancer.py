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
from hamlet.routing.adaptive_throttle import AdaptiveThrottle
from hamlet.routing.circuit_breaker import ProbeCheck
from hamlet.routing.cost_estimate import CostEstimate, TokenEstimator
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.failure_policy import apply_failure, propagate_failure
from hamlet.routing.gossip.message import DeploymentSnapshot
from hamlet.routing.latency import LatencyModel
from hamlet.routing.retry_budget import RetryBudget
from hamlet.routing.selection import (
    CRITICAL_MAX_FILL,
    SHEDDABLE_MAX_FILL,
    Candidate,
    SelectionContext,
    Tier,
    is_panicking,
    pick_two_choices,
    selection_weight,
)

# Hedges are at most this part of a route's calls.
MAX_HEDGE_RATIO = 0.05

_NO_IDS: frozenset[str] = frozenset()


@dataclass(slots=True)
class PendingUpdates:
    """What this process has learned and others have not heard of yet."""

    costs: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    changed_ids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class RouteState:
    """What is kept per route: how it is tiered, what its calls are like, what it may retry."""

    route: Route
    tiers: tuple[Tier, ...]
    estimator: TokenEstimator
    retry_budget: RetryBudget
    hedge_budget: RetryBudget
    candidate_count: int


class Selection(Struct, frozen=True):
    """The deployment to ask. A `probe` finds out if it is well again, and wants a backup."""

    candidate: Candidate
    tier: int
    is_probe: bool = False

    @property
    def deployment(self) -> Deployment:
        return self.candidate.deployment


class RoomWait(Struct, frozen=True):
    """Nobody has room for `seconds`; `throttled` if they asked for that wait themselves."""

    seconds: float
    throttled: bool


class Reservation(Struct, eq=False):
    """One attempt as the ledgers know it; ends with `settle`, once."""

    candidate: Candidate
    estimate: CostEstimate
    cost: float  # in the units of the deployment's capacity model
    started_at: float
    is_probe: bool = False
    is_open: bool = True
    headroom: Headroom | None = None
    tier: int = 0


class LoadBalancer:
    """Learns from every attempt, and chooses for the next. Nothing here waits or does I/O.

    `clock` gives monotonic seconds; `lease` says whether this process may probe a deployment.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        may_probe: ProbeCheck = lambda _: True,
    ) -> None:
        self.clock = clock
        self.may_probe = may_probe
        self.pending_updates: PendingUpdates | None = None
        # Told of each deployment whose breaker may have changed.
        self.on_breaker_change: Callable[[DeploymentState], None] = lambda _: None
        self.rng = rng or random.Random()
        self._deployment_states: dict[str, DeploymentState] = {}
        self._latency_models: dict[tuple[str, bool], LatencyModel] = {}
        self._throttles: dict[str, AdaptiveThrottle] = {}
        self._route_states: dict[tuple[str, bool], RouteState] = {}
        self._tripped_ids: set[str] = set()

    # -- what is known

    def route_state(self, route: Route, *, stream: bool = True) -> RouteState:
        """The route's own state; made anew, but for what it has learned, when the route changes."""
        known = self._route_states.get((route.name, stream))
        if known is not None and known.route is route:
            return known
        tiers = (self._candidates(route, tier, stream) for tier in route.tiers)
        kept = known or self._route_states.get((route.name, not stream))
        built = tuple(Tier(candidates) for candidates in tiers if candidates)
        made = RouteState(
            route,
            built,
            kept.estimator if kept else TokenEstimator(),
            kept.retry_budget if kept else RetryBudget(route.policy.retry_budget),
            kept.hedge_budget
            if kept
            else RetryBudget(MAX_HEDGE_RATIO, max_balance=1 / MAX_HEDGE_RATIO),
            sum(len(tier.candidates) for tier in built),
        )
        self._route_states[route.name, stream] = made
        return made

    def deployment_state(self, deployment: Deployment) -> DeploymentState:
        """What is known of a deployment."""
        now = self.clock()
        known = self._deployment_states.get(deployment.id)
        if known is None:
            known = self._deployment_states[deployment.id] = DeploymentState(
                deployment, self.rng, now
            )
        known.update_capacity(deployment, now)
        return known

    @property
    def deployment_states(self) -> dict[str, DeploymentState]:
        """All conditions by deployment id."""
        return self._deployment_states

    def _candidates(
        self, route: Route, tier: Iterable[Deployment], stream: bool
    ) -> list[Candidate]:
        residency = route.residency
        return [
            Candidate(
                d,
                self.deployment_state(d),
                self._latency_model(d.model, stream),
                selection_weight(d),
            )
            for d in tier
            if not residency or d.region in residency or d.data_zone in residency
        ]

    def _latency_model(self, model: str, stream: bool) -> LatencyModel:
        return self._latency_models.setdefault((model, stream), LatencyModel())

    def _throttle_for(self, vendor: str) -> AdaptiveThrottle:
        known = self._throttles.get(vendor)
        if known is None:
            known = self._throttles[vendor] = AdaptiveThrottle(self.rng)
        return known

    # -- choosing

    def build_context(
        self,
        estimate: CostEstimate,
        tried: frozenset[str] = _NO_IDS,
        full_tiers: frozenset[int] = frozenset(),
    ) -> SelectionContext:
        """A look at the fleet now; valid for one choice."""
        now, any_tripped = self.clock(), bool(self._tripped_ids)
        shed_vendors = _NO_IDS
        for vendor, throttle in self._throttles.items():
            if throttle.is_active and throttle.should_shed(now):
                shed_vendors |= {vendor}
        max_fill = SHEDDABLE_MAX_FILL if estimate.sheddable else CRITICAL_MAX_FILL
        return SelectionContext(
            estimate,
            now,
            self.rng,
            self.may_probe,
            shed_vendors,
            tried,
            full_tiers,
            any_tripped,
            max_fill=max_fill,
        )

    def select(self, route_state: RouteState, context: SelectionContext) -> Selection | None:
        """The deployment to ask now, or None if nobody has room."""
        if context.any_tripped and is_panicking(route_state.tiers):
            context.panic = True
        selection = self._select_from_tiers(route_state, context)
        if selection is None and context.skipped_outlier:
            # A slow one with room is better than a wait for somebody who is full.
            context.allow_outliers = True
            selection = self._select_from_tiers(route_state, context)
        return selection

    def _select_from_tiers(
        self, route_state: RouteState, context: SelectionContext
    ) -> Selection | None:
        """Somebody of the first tier that has anybody."""
        for i, tier in enumerate(route_state.tiers):
            if i in context.full_tiers:
                continue
            candidate = pick_two_choices(tier, context)
            if candidate is not None:
                breaker = candidate.state.breaker
                probe = breaker.is_tripped and breaker.is_probe_due(context.now)
                if probe:
                    breaker.start_probe(context.now)
                return Selection(candidate, i, probe)
        return None

    def select_least_full(
        self, route_state: RouteState, context: SelectionContext
    ) -> Selection | None:
        """The one to ask although our ledger says it is full: the ledger is a guess, after all."""
        available = [
            (context.fill(candidate), i, candidate)
            for i, tier in enumerate(route_state.tiers)
            for candidate in tier.candidates
            if context.rejection_reason(candidate) is None
        ]
        if not available:
            return None
        _, i, candidate = min(available, key=lambda row: row[:2])
        return Selection(candidate, i)

    def earliest_room(self, route_state: RouteState, context: SelectionContext) -> RoomWait | None:
        """When somebody will have room; None if nobody can ever take the call."""
        waits = [
            self._room_wait(candidate, context)
            for tier in route_state.tiers
            for candidate in tier.candidates
            if context.unsupported_reason(candidate) is None
        ]
        return min(waits, key=lambda wait: wait.seconds, default=None)

    def _room_wait(self, candidate: Candidate, context: SelectionContext) -> RoomWait:
        state, now = candidate.state, context.now
        cooldown = state.cooldown_until - now
        room = state.capacity_model.time_until_free(context.cost(candidate), context.max_fill, now)
        opens = state.breaker.open_until - now if state.breaker.is_tripped else 0.0
        return RoomWait(max(cooldown, room, opens, 0.0), throttled=opens <= 0.0)

    # -- learning

    def reserve(self, selection: Selection, estimate: CostEstimate) -> Reservation:
        """An attempt begins: charge it, count it. Must be settled."""
        candidate, now = selection.candidate, self.clock()
        state = candidate.state
        cached = state.cached_prefix_tokens(estimate.prefixes, now) if estimate.prefixes else 0.0
        cost = state.capacity_model.cost(estimate, cached)
        state.capacity_model.reserve(cost, now)
        state.in_flight += 1
        state.last_used_at = now
        if self.pending_updates is not None:
            self.pending_updates.costs[state.deployment_id] += cost
            self.pending_updates.calls[state.deployment_id] += 1
        reservation = Reservation(
            candidate, estimate, cost, now, selection.is_probe, tier=selection.tier
        )
        if estimate.stream:
            # How long a whole answer takes is its length's doing, which nobody knows yet.
            fresh = max(0.0, estimate.input_tokens - cached)
            state.track_pending(reservation, now, candidate.latency_model.predict_s(fresh))
        return reservation

    def record_success(self, reservation: Reservation, tokens: float | None = None) -> None:
        """The attempt committed. `tokens` is what a whole answer turned out to have."""
        state, now = reservation.candidate.state, self.clock()
        if reservation.estimate.stream:
            state.untrack_pending(reservation)
        state.consecutive_throttles = 0
        self._throttle_for(reservation.candidate.deployment.vendor).record(now, overloaded=False)
        if reservation.estimate.prefixes:
            state.record_prefixes(reservation.estimate.prefixes, now)
        if reservation.headroom is not None:
            state.capacity_model.observe_headers(reservation.headroom, now)
            state.headroom, state.headroom_at = reservation.headroom, now
        if reservation.headroom is None or not reservation.headroom.spilled:
            self._record_latency(reservation, now, tokens)
        was_tripped = state.breaker.is_tripped
        state.breaker.record_success(now)
        if was_tripped and not state.breaker.is_tripped:
            state.reset_slowness(now)
        # An answer may also open it, by having been far too slow.
        if self._tripped_ids or state.breaker.is_tripped:
            self._mark_changed(state)

    def record_failure(self, reservation: Reservation, error: ProviderError) -> None:
        """The attempt, or the answer after its commit, failed."""
        candidate, now = reservation.candidate, self.clock()
        state, deployment = candidate.state, candidate.deployment
        overloaded = isinstance(error, errors.Overloaded)
        self._throttle_for(deployment.vendor).record(now, overloaded=overloaded)
        if isinstance(error, errors.UpstreamTimeout) and error.phase != "stream":
            expected = candidate.latency_model.predict_s(self._latency_tokens(reservation, None))
            state.slowness.observe((now - reservation.started_at) / expected, now)
        apply_failure(state, error, now, self.rng)
        if isinstance(error, (errors.QuotaExhausted, errors.Overloaded)):
            quota_peers, region_peers = self._peers(candidate)
            propagate_failure(error, quota_peers, region_peers, now)
            for other in (*quota_peers, *region_peers):
                self._mark_changed(other)
        self._mark_changed(state)

    def cancel(self, reservation: Reservation) -> None:
        """The attempt was called off: nobody is to blame. Settles it.

        But a probe that a backup has overtaken in what would have been good time was too slow.
        """
        if reservation.is_probe:
            candidate, now = reservation.candidate, self.clock()
            expected = candidate.latency_model.predict_s(self._latency_tokens(reservation, None))
            if now - reservation.started_at > expected:
                candidate.state.breaker.record_failure(now)
            else:
                candidate.state.breaker.abandon_probe(now)
            self._mark_changed(candidate.state)
        self.settle(reservation)

    def settle(
        self, reservation: Reservation, usage: Usage | None = None, seen_tokens: float = 0.0
    ) -> None:
        """The attempt is over. Without usage it cost its prompt and the tokens `seen`.

        A refused attempt has cost nothing: say `Usage(0, 0)`.
        """
        if not reservation.is_open:
            return
        reservation.is_open = False
        candidate = reservation.candidate
        state, now = candidate.state, self.clock()
        state.in_flight -= 1
        if reservation.estimate.stream:
            state.untrack_pending(reservation)
        actual_cost = state.capacity_model.actual_cost(usage) if usage is not None else None
        if actual_cost is None:
            estimate = reservation.estimate
            input_tokens, output_tokens = round(estimate.input_tokens), round(seen_tokens)
            actual_cost = state.capacity_model.actual_cost(Usage(input_tokens, output_tokens))
        state.charged_tokens += reservation.cost if actual_cost is None else actual_cost
        if actual_cost is not None:
            state.capacity_model.adjust(actual_cost - reservation.cost, now)
            if self.pending_updates is not None:
                self.pending_updates.costs[state.deployment_id] += actual_cost - reservation.cost

    def merge_remote(self, state: DeploymentState, remote: DeploymentSnapshot) -> None:
        """Take in what another process knows; it is no news to pass on."""
        state.merge_remote(remote, self.clock())
        self._update_tripped(state)

    def _record_latency(self, reservation: Reservation, now: float, tokens: float | None) -> None:
        candidate = reservation.candidate
        x = self._latency_tokens(reservation, tokens)
        ratio = candidate.latency_model.learn(x, now - reservation.started_at)
        candidate.state.slowness.observe(ratio, now)
        candidate.state.breaker.record_latency_ratio(ratio, now)

    def _latency_tokens(self, reservation: Reservation, tokens: float | None) -> float:
        estimate = reservation.estimate
        if estimate.stream:
            cached = reservation.candidate.state.cached_prefix_tokens(
                estimate.prefixes, reservation.started_at
            )
            return max(0.0, estimate.input_tokens - cached)
        return estimate.likely_output_tokens if tokens is None else tokens

    def _peers(self, candidate: Candidate) -> tuple[list[DeploymentState], list[DeploymentState]]:
        """The others of its purse, and the others of its vendor in its region."""
        own = candidate.deployment
        others = {
            m.deployment.id: m
            for route_state in self._route_states.values()
            for tier in route_state.tiers
            for m in tier.candidates
            if m.deployment.id != own.id
        }.values()
        own_place = (own.vendor, own.region)
        return (
            [m.state for m in others if own.quota_group == m.deployment.quota_group != ""],
            [
                m.state
                for m in others
                if own.region and own_place == (m.deployment.vendor, m.deployment.region)
            ],
        )

    def _mark_changed(self, state: DeploymentState) -> None:
        self._update_tripped(state)
        if self.pending_updates is not None:
            self.pending_updates.changed_ids.add(state.deployment_id)

    def _update_tripped(self, state: DeploymentState) -> None:
        if state.breaker.is_tripped:
            self._tripped_ids.add(state.deployment_id)
        else:
            self._tripped_ids.discard(state.deployment_id)
        self.on_breaker_change(state)
