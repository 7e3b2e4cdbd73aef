"""Power-of-two-choices selection: tiers in strict order, and within one the better of two draws.

"The Power of Two Choices in Randomized Load Balancing" (Mitzenmacher, 2001):
https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
"""

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
    """A deployment in a tier, with its state. `weight` is its relative share of draws."""

    deployment: Deployment
    state: DeploymentState
    latency_model: LatencyModel
    weight: float


class Tier:
    """The candidates of one tier, prepared for weighted draws."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = tuple(candidates)
        self.total_weight = sum(each.weight for each in candidates)
        self._cumulative_weights = list(itertools.accumulate(each.weight for each in candidates))

    def draw(self, rng: random.Random) -> Candidate:
        """One candidate at random, by weight."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        return self.candidates[
            bisect.bisect(self._cumulative_weights, rng.random() * self._cumulative_weights[-1])
        ]


def selection_weight(deployment: Deployment) -> float:
    """The reserved tokens a second if there are any, else the configured weight."""
    capacity = deployment.capacity
    return capacity.tokens_per_s if isinstance(capacity, ReservedThroughput) else deployment.weight


class SelectionContext(Struct):
    """The input of one selection: what the call needs, and which deployments are ruled out.

    `full_tiers` have refused this call for lack of room; `shed_vendors` are overloaded;
    `any_tripped` is False if every circuit breaker is closed. `panic` ignores breakers that
    failures or slowness opened, `allow_outliers` that a deployment is far too slow. `max_fill` is
    how full the call may leave a deployment, 1 being its capacity. `now` is monotonic seconds.
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
    max_fill: float = CRITICAL_MAX_FILL

    def cost(self, candidate: Candidate) -> float:
        """What the call would be charged there, in input-equivalent tokens."""
        estimate, state = self.estimate, candidate.state
        cached = (
            state.cached_prefix_tokens(estimate.prefixes, self.now) if estimate.prefixes else 0.0
        )
        return state.capacity_model.cost(estimate, cached)

    def fill(self, candidate: Candidate) -> float:
        """How full the call would leave it, as a part of its capacity."""
        if self.estimate.prefixes:
            return candidate.state.capacity_model.fill(self.cost(candidate), self.now)
        capacity_model = candidate.state.capacity_model
        return capacity_model.fill(capacity_model.cost(self.estimate), self.now)

    def rejection_reason(self, candidate: Candidate) -> str | None:
        """Why the deployment is not available now, whatever its fill; None if it is."""
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
        """Why the deployment can never serve the call; None if it can."""
        card = candidate.deployment.card
        if self.estimate.features and not self.estimate.features <= card.features:
            return "lacks a feature"
        window = card.context_window
        # The size is an estimate: only what is clearly too long is ruled out.
        if window is not None and self.estimate.input_tokens > 1.5 * window:
            return "its window is too short"
        return None

    def _breaker_admits(self, state: DeploymentState) -> bool:
        breaker = state.breaker
        if breaker.is_probe_due(self.now) and self.may_probe(state.deployment_id):
            return True
        return self.panic and breaker.reason in ("failures", "slow")

    def score(self, candidate: Candidate) -> float:
        """Expected seconds, times the load: lower is better."""
        estimate, state = self.estimate, candidate.state
        tokens = estimate.likely_output_tokens
        if estimate.stream:
            tokens = estimate.input_tokens
            if estimate.prefixes:
                tokens = max(0.0, tokens - state.cached_prefix_tokens(estimate.prefixes, self.now))
        expected = candidate.latency_model.predict_s(tokens) * state.slowness_factor(self.now)
        return expected * (state.in_flight + 1) / candidate.weight


_CandidateFill = tuple[float, Candidate]
"""A candidate, after how full the call would leave it."""


def pick_two_choices(tier: Tier, context: SelectionContext) -> Candidate | None:
    """The candidate of the tier to call, or None if none is available with room."""
    if context.any_tripped and (probe := _probe_candidate(tier, context)):
        return probe
    first = _draw(tier, context, None)
    if first is None:
        available = [
            each for each in tier.candidates if _fill_if_available(each, context) is not None
        ]
        if not available:
            return None
        tier = Tier(available)
        first = _draw(tier, context, None, ignore_slow_start=True)
        assert first is not None, "all of these are available"
    if len(tier.candidates) == 1:
        return first[1]
    second = _draw_prefix_affine(tier, context, first) or _draw(tier, context, first)
    return first[1] if second is None else _pick_better(first, second, context)


def _probe_candidate(tier: Tier, context: SelectionContext) -> Candidate | None:
    """A candidate whose breaker is half open and due for a probe: it goes first."""
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
    """An available candidate found by a few draws, which avoids a scan of the whole tier.

    Candidates in their slow start are drawn less often, unless `ignore_slow_start`.
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
    """A candidate that has a prefix of this prompt in its cache, if it is available."""
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
    """How full the call would leave it; None if it is unavailable, an outlier or too full."""
    if context.rejection_reason(candidate) is not None:
        return None
    if not context.allow_outliers and candidate.state.is_outlier(context.now):
        return None
    fill = context.fill(candidate)
    return fill if fill <= context.max_fill else None


def _pick_better(
    one: _CandidateFill, other: _CandidateFill, context: SelectionContext
) -> Candidate:
    """The cold one; of two hot ones the emptier, of two cold ones the faster.

    The hot-cold lexicographic rule of Prequal (https://arxiv.org/abs/2312.10172), with utilisation
    in place of requests in flight.
    """
    hot = one[0] > HOT_FILL, other[0] > HOT_FILL
    if hot[0] != hot[1]:
        return other[1] if hot[0] else one[1]
    if hot[0]:
        return one[1] if one[0] <= other[0] else other[1]
    return one[1] if context.score(one[1]) <= context.score(other[1]) else other[1]


def any_outlier(tiers: Sequence[Tier], context: SelectionContext) -> bool:
    """Whether a deployment is left out only because it is far too slow."""
    return any(
        candidate.state.is_outlier(context.now) and context.rejection_reason(candidate) is None
        for i, tier in enumerate(tiers)
        if i not in context.full_tiers
        for candidate in tier.candidates
    )


def is_panicking(tiers: Sequence[Tier]) -> bool:
    """Whether open breakers leave less than half of every tier, so that they are better ignored.

    Envoy's panic threshold, over all tiers:
    https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold
    """
    return all(_closed_ratio(tier) < _PANIC_THRESHOLD for tier in tiers)


def _closed_ratio(tier: Tier) -> float:
    closed = sum(each.weight for each in tier.candidates if not each.state.breaker.is_tripped)
    return closed / tier.total_weight
