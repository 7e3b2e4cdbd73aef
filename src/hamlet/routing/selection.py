"""Which deployment to ask next: strict tiers, and within one the better of two draws."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from hamlet.registry import Deployment, ReservedThroughput
from hamlet.routing.circuit_breaker import ProbeCheck
from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.latency import LatencyModel

HOT_FILL = 0.8  # of the capacity, 0 to 1
CRITICAL_MAX_FILL, SHEDDABLE_MAX_FILL = 1.0, 0.85
_MAX_DRAWS = 4
_PANIC_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment in a tier, with what is known of it. `share` is its part of the traffic."""

    deployment: Deployment
    state: DeploymentState
    latency_model: LatencyModel
    weight: float


class Tier:
    """The members of one tier, ready for weighted draws."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self.total_weight = sum(m.weight for m in candidates)
        self._cumulative_weights = list(itertools.accumulate(m.weight for m in candidates))

    def draw(self, rng: random.Random) -> Candidate:
        """One member, by share."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        return self.candidates[
            bisect.bisect(self._cumulative_weights, rng.random() * self._cumulative_weights[-1])
        ]


def selection_weight(deployment: Deployment) -> float:
    """The weight of a draw: reserved tokens a second, else what the config says."""
    capacity = deployment.capacity
    return capacity.tokens_per_s if isinstance(capacity, ReservedThroughput) else deployment.weight


class SelectionContext(Struct):
    """One look for a deployment: what is asked for, and what must not be asked any more.

    `spilled` tiers refused twice already; `spared` vendors are overloaded; `trouble` says that some
    breaker is open at all; `panic` ignores breakers that failures opened, `patient` that a
    deployment drags; `dragged` tells that somebody was left out for that. `limit` is how full a
    deployment may become by this call.
    """

    estimate: CostEstimate
    now: float
    rng: random.Random
    may_probe: ProbeCheck
    shed_vendors: frozenset[str] = frozenset()
    tried: frozenset[str] = frozenset()
    full_tiers: frozenset[int] = frozenset()
    any_tripped: bool = True
    panic: bool = False
    allow_outliers: bool = False
    skipped_outlier: bool = False
    max_fill: float = CRITICAL_MAX_FILL

    def cost(self, candidate: Candidate) -> float:
        """What the call would be charged there."""
        estimate, state = self.estimate, candidate.state
        cached = (
            state.cached_prefix_tokens(estimate.prefixes, self.now) if estimate.prefixes else 0.0
        )
        return state.capacity_model.cost(estimate, cached)

    def fill(self, candidate: Candidate) -> float:
        """How full the call would leave it."""
        if self.estimate.prefixes:
            return candidate.state.capacity_model.fill(self.cost(candidate), self.now)
        capacity_model = candidate.state.capacity_model
        return capacity_model.fill(capacity_model.cost(self.estimate), self.now)

    def rejection_reason(self, candidate: Candidate) -> str | None:
        """Why the member may not be asked now, whatever its fill; None if it may."""
        deployment, state = candidate.deployment, candidate.state
        if self.tried and deployment.id in self.tried:
            return "tried"
        needs_capability_check = (
            self.estimate.features or deployment.card.context_window is not None
        )
        if needs_capability_check and (reason := self.unsupported_reason(candidate)) is not None:
            return reason
        if self.now < state.cooldown_until:
            return "cooling down"
        max_in_flight = deployment.max_in_flight
        if max_in_flight is not None and state.in_flight >= max_in_flight:
            return "has as many calls as it may"
        if state.breaker.is_tripped and not self._breaker_admits(state):
            return f"breaker open ({state.breaker.reason})"
        if self.shed_vendors and deployment.vendor in self.shed_vendors:
            return "its vendor is overloaded"
        return None

    def unsupported_reason(self, candidate: Candidate) -> str | None:
        """Why the member can never take the call; None if it can."""
        card = candidate.deployment.card
        if self.estimate.features and not self.estimate.features <= card.features:
            return "lacks a feature"
        window = card.context_window
        # The size is an estimate: only what is clearly too long is kept away.
        if window is not None and self.estimate.input_tokens > 1.5 * window:
            return "its window is too short"
        return None

    def _breaker_admits(self, state: DeploymentState) -> bool:
        breaker = state.breaker
        if breaker.is_probe_due(self.now) and self.may_probe(state.deployment_id):
            return True
        return self.panic and breaker.reason in ("failures", "slow")

    def score(self, candidate: Candidate) -> float:
        """Seconds to expect, by load: the lower the better."""
        estimate, state = self.estimate, candidate.state
        tokens = estimate.likely_output_tokens
        if estimate.stream:
            tokens = estimate.input_tokens
            if estimate.prefixes:
                tokens = max(0.0, tokens - state.cached_prefix_tokens(estimate.prefixes, self.now))
        expected = candidate.latency_model.predict_s(tokens) * state.slowness_factor(self.now)
        return expected * (state.in_flight + 1) / candidate.weight


_CandidateFill = tuple[float, Candidate]
"""How full the call would leave a member, and the member."""


def pick_two_choices(tier: Tier, context: SelectionContext) -> Candidate | None:
    """The member of the tier to ask, or None if nobody has room."""
    if context.any_tripped and (probe := _probe_candidate(tier, context)):
        return probe
    first = _draw(tier, context, None)
    if first is None:
        available = [m for m in tier.candidates if _fill_if_available(m, context) is not None]
        if not available:
            return None
        tier = Tier(available)
        first = _draw(tier, context, None, ignore_slow_start=True)
        assert first is not None, "all of these have room"
    if len(tier.candidates) == 1:
        return first[1]
    second = _draw_prefix_affine(tier, context, first) or _draw(tier, context, first)
    return first[1] if second is None else _pick_better(first, second, context)


def _probe_candidate(tier: Tier, context: SelectionContext) -> Candidate | None:
    """A member whose breaker wants to know if it is well again: it is asked first."""
    for candidate in tier.candidates:
        breaker = candidate.state.breaker
        due = breaker.is_tripped and breaker.is_probe_due(context.now)
        if (
            due
            and context.rejection_reason(candidate) is None
            and context.fill(candidate) <= context.max_fill
        ):
            return candidate
    return None


def _draw(
    tier: Tier,
    context: SelectionContext,
    exclude: _CandidateFill | None,
    ignore_slow_start: bool = False,
) -> _CandidateFill | None:
    """A few draws nearly always find a member with room, without a look at all of them.

    Members in their slow start are drawn less often, unless `eager`.
    """
    for _ in range(_MAX_DRAWS):
        candidate = tier.draw(context.rng)
        if exclude is not None and candidate is exclude[1]:
            continue
        fill = _fill_if_available(candidate, context)
        if fill is not None:
            weight = candidate.state.breaker.slow_start_weight(context.now)
            if ignore_slow_start or weight >= 1 or context.rng.random() < weight:
                return fill, candidate
    return None


def _draw_prefix_affine(
    tier: Tier, context: SelectionContext, exclude: _CandidateFill | None
) -> _CandidateFill | None:
    """A member that has served the beginning of this prompt, if it has room."""
    if not context.estimate.prefixes:
        return None
    for candidate in tier.candidates:
        cached_tokens = candidate.state.cached_prefix_tokens(context.estimate.prefixes, context.now)
        if cached_tokens and (exclude is None or candidate is not exclude[1]):
            fill = _fill_if_available(candidate, context)
            if fill is not None:
                return fill, candidate
    return None


def _fill_if_available(candidate: Candidate, context: SelectionContext) -> float | None:
    """How full the call would leave the member; None if it cannot take it, or not in good time."""
    if context.rejection_reason(candidate) is not None:
        return None
    if not context.allow_outliers and candidate.state.is_outlier(context.now):
        context.skipped_outlier = True
        return None
    fill = context.fill(candidate)
    return fill if fill <= context.max_fill else None


def _pick_better(
    one: _CandidateFill, other: _CandidateFill, context: SelectionContext
) -> Candidate:
    """The cold one; of two hot ones the emptier, of two cold ones the quicker.

    Prequal's rule (Wydrowski et al., 2023), with utilisation for requests in flight.
    """
    hot = one[0] > HOT_FILL, other[0] > HOT_FILL
    if hot[0] != hot[1]:
        return other[1] if hot[0] else one[1]
    if hot[0]:
        return one[1] if one[0] <= other[0] else other[1]
    return one[1] if context.score(one[1]) <= context.score(other[1]) else other[1]


def is_panicking(tiers: Sequence[Tier]) -> bool:
    """Whether breakers leave so little everywhere that they do more harm than good.

    After Envoy's panic threshold; a tier below it counts only if no lower tier is whole.
    """
    return all(_closed_ratio(tier) < _PANIC_THRESHOLD for tier in tiers)


def _closed_ratio(tier: Tier) -> float:
    closed = sum(m.weight for m in tier.candidates if not m.state.breaker.is_tripped)
    return closed / tier.total_weight
