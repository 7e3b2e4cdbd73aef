"""Learns from every attempt, and selects the deployment for the next one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from hamlet.core import Usage
from hamlet.core.errors import ProviderError
from hamlet.registry import Deployment, Route
from hamlet.routing.adaptive_throttle import AdaptiveThrottle
from hamlet.routing.circuit_breaker import ProbeCheck
from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.failure_policy import apply_failure, propagate_failure
from hamlet.routing.gossip.message import DeploymentSnapshot
from hamlet.routing.gossip.pending_updates import PendingUpdates
from hamlet.routing.latency import LatencyModel
from hamlet.routing.reservation import Reservation, RoomWait, Selection
from hamlet.routing.route_state import RouteState, build_route_state
from hamlet.routing.selection import (
    CRITICAL_MAX_FILL,
    SHEDDABLE_MAX_FILL,
    Candidate,
    SelectionContext,
    any_outlier,
    is_panicking,
    pick_two_choices,
    selection_weight,
)

_NO_IDS: frozenset[str] = frozenset()


class LoadBalancer:
    """The state of all deployments and routes of this process. Nothing here waits or does I/O.

    `clock` gives monotonic seconds; `may_probe` says whether this process may probe a half-open
    deployment. What other processes are to hear goes into `pending_updates`, if given.
    `on_breaker_change` is called for each deployment whose circuit breaker may have changed.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        *,
        may_probe: ProbeCheck = lambda _: True,
        pending_updates: PendingUpdates | None = None,
        on_breaker_change: Callable[[DeploymentState], None] = lambda _: None,
    ) -> None:
        self.clock = clock
        self.rng = rng or random.Random()
        self.may_probe = may_probe
        self.pending_updates = pending_updates
        self._on_breaker_change = on_breaker_change
        self._deployment_states: dict[str, DeploymentState] = {}
        self._latency_models: dict[tuple[str, bool], LatencyModel] = {}
        self._throttles: dict[str, AdaptiveThrottle] = {}
        self._route_states: dict[tuple[str, bool], RouteState] = {}
        self._tripped_ids: set[str] = set()

    # -- state

    def route_state(self, route: Route, *, stream: bool = True) -> RouteState:
        """The route's state. A reload that changes the route keeps what has been learned."""
        known = self._route_states.get((route.name, stream))
        if known is not None and known.route is route:
            return known
        # Streams and whole responses differ in latency only: the other's budgets hold for both.
        previous = known or self._route_states.get((route.name, not stream))
        candidates = [self._candidates(route, tier, stream) for tier in route.tiers]
        built = build_route_state(route, candidates, previous)
        self._route_states[route.name, stream] = built
        return built

    def deployment_state(self, deployment: Deployment) -> DeploymentState:
        """The deployment's state, created when it is first asked for."""
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
        """All states, by deployment id."""
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

    # -- selection

    def build_context(
        self,
        estimate: CostEstimate,
        tried: frozenset[str] = _NO_IDS,
        full_tiers: frozenset[int] = frozenset(),
    ) -> SelectionContext:
        """The input of one selection: what the call needs, as of now."""
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
        """The deployment to call now, or None if none has room."""
        if context.any_tripped and is_panicking(route_state.tiers):
            context.panic = True
        selection = self._select_from_tiers(route_state, context)
        if selection is None and any_outlier(route_state.tiers, context):
            # A slow deployment with room is better than waiting for a full one.
            context.allow_outliers = True
            selection = self._select_from_tiers(route_state, context)
        return selection

    def _select_from_tiers(
        self, route_state: RouteState, context: SelectionContext
    ) -> Selection | None:
        """A deployment of the first tier that has an available one."""
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
        """The least full of the deployments that are full by our model, which is an estimate."""
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
        """When the first deployment has room; None if none can ever take the call."""
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

    # -- attempts

    def reserve(self, selection: Selection, estimate: CostEstimate) -> Reservation:
        """Charge and count an attempt that starts. Pair with `settle` or `cancel`."""
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
            # The time of a whole response depends on its length, which is not known yet.
            fresh = max(0.0, estimate.input_tokens - cached)
            state.track_pending(reservation, now, candidate.latency_model.predict_s(fresh))
        return reservation

    def record_success(self, reservation: Reservation, tokens: float | None = None) -> None:
        """The attempt has committed. `tokens` is the output of a whole response."""
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
        # A response that was far too slow may also open the breaker.
        if self._tripped_ids or state.breaker.is_tripped:
            self._mark_changed(state)

    def record_failure(self, reservation: Reservation, error: ProviderError) -> None:
        """The attempt failed, or its response did after the commit."""
        candidate, now = reservation.candidate, self.clock()
        state, deployment = candidate.state, candidate.deployment
        self._throttle_for(deployment.vendor).record(now, overloaded=error.is_overload)
        if error.is_timeout and error.phase != "stream":
            expected = candidate.latency_model.predict_s(self._latency_tokens(reservation, None))
            state.slowness.observe((now - reservation.started_at) / expected, now)
        apply_failure(state, error, now, self.rng)
        if error.propagates_to is not None:
            self._propagate(deployment, error, now)
        self._mark_changed(state)

    def cancel(self, reservation: Reservation) -> None:
        """The attempt was cancelled, which says nothing of the deployment. Settles it.

        A probe is the exception: cancelled later than its response was expected, it has failed.
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
        """The attempt has ended: correct its charge. Idempotent.

        Without `usage` it cost its prompt and the `seen_tokens` of output; `Usage(0, 0)` stands for
        an attempt that the vendor refused.
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
        """Merge what another process reports. It is not passed on."""
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

    def _propagate(self, failed: Deployment, error: ProviderError, now: float) -> None:
        is_quota = error.propagates_to == "quota_peers"
        peers = self._quota_peers(failed) if is_quota else self._region_peers(failed)
        propagate_failure(error, peers, now)
        for peer in peers:
            self._mark_changed(peer)

    def _quota_peers(self, own: Deployment) -> list[DeploymentState]:
        """The other deployments of the same quota group."""
        return [
            other.state
            for other in self._other_candidates(own)
            if own.quota_group == other.deployment.quota_group != ""
        ]

    def _region_peers(self, own: Deployment) -> list[DeploymentState]:
        """The other deployments of the same vendor in the same region."""
        return [
            other.state
            for other in self._other_candidates(own)
            if own.region
            and (own.vendor, own.region) == (other.deployment.vendor, other.deployment.region)
        ]

    def _other_candidates(self, own: Deployment) -> Iterable[Candidate]:
        return {
            candidate.deployment.id: candidate
            for route_state in self._route_states.values()
            for tier in route_state.tiers
            for candidate in tier.candidates
            if candidate.deployment.id != own.id
        }.values()

    def _mark_changed(self, state: DeploymentState) -> None:
        self._update_tripped(state)
        if self.pending_updates is not None:
            self.pending_updates.changed_ids.add(state.deployment_id)

    def _update_tripped(self, state: DeploymentState) -> None:
        if state.breaker.is_tripped:
            self._tripped_ids.add(state.deployment_id)
        else:
            self._tripped_ids.discard(state.deployment_id)
        self._on_breaker_change(state)
