"""What an error does to the deployment it came from, and to others that share its quota or region.

The rules are data of the error classes (hamlet.core.errors.ProviderError); docs/retries.md has them
as a table.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from hamlet.core.errors import Cooldown, ProviderError, Trip
from hamlet.routing.deployment_state import DeploymentState

_REGION_PENALTY_S = 10.0
_FAILED_SLOWNESS = 3.0
# 2 ** 9 exceeds every cooldown's maximum; without a bound the power would overflow in the end.
_MAX_DOUBLINGS = 9


def apply_failure(
    state: DeploymentState, error: ProviderError, now: float, rng: random.Random
) -> None:
    """Cool down, count a failure or open the breaker. An error of the caller's changes nothing."""
    breaker, trip = state.breaker, error.trip
    if error.unhealthy:
        state.drain_retry_tokens(failure_weight(error))
    cooldown = _effective_cooldown(error)
    if cooldown is not None:
        _cool_down(state, cooldown, error, now, rng)
    elif trip is not None:
        breaker.open(trip.reason, now, _open_s(trip, error))
    elif error.unhealthy:
        breaker.record_failure(now, failure_weight(error))
        # Selection prefers others even before the breaker opens.
        state.slowness.raise_to(_FAILED_SLOWNESS, now)
    else:
        breaker.abandon_probe(now)


def failure_weight(error: ProviderError) -> float:
    """How much the error counts as a failure, 0 to 1: less once the stream has begun."""
    return error.interrupted_weight if error.phase == "stream" else error.failure_weight


def propagate_failure(error: ProviderError, peers: Iterable[DeploymentState], now: float) -> None:
    """Open the breakers of quota peers, or penalize region peers, as `error.propagates_to` says.

    A quota error with a Retry-After is about the deployment's own limit: it does not propagate.
    """
    if error.propagates_to == "region_peers":
        for state in peers:
            state.penalize(_REGION_PENALTY_S, now)
    elif error.propagates_to == "quota_peers" and error.trip and error.retry_after is None:
        for state in peers:
            state.breaker.open(error.trip.reason, now, error.trip.open_s)


def _effective_cooldown(error: ProviderError) -> Cooldown | None:
    cooldown = error.cooldown
    if cooldown is None or cooldown.on_plain_503:
        return cooldown
    is_plain_503 = error.upstream_status == 503 and error.retry_after is None
    return None if is_plain_503 else cooldown


def _cool_down(
    state: DeploymentState,
    cooldown: Cooldown,
    error: ProviderError,
    now: float,
    rng: random.Random,
) -> None:
    state.consecutive_throttles += 1
    doublings = min(state.consecutive_throttles - 1, _MAX_DOUBLINGS)
    wait_s = error.retry_after or min(cooldown.max_s, cooldown.base_s * 2**doublings)
    if cooldown.jitter:
        wait_s *= rng.uniform(1.0, 1.0 + cooldown.jitter)
    state.cool_down(wait_s, now)
    if error.is_capacity_refusal:
        state.capacity_model.observe_refusal(now)
        state.breaker.abandon_probe(now)


def _open_s(trip: Trip, error: ProviderError) -> float:
    if trip.honors_retry_after and error.retry_after:
        return min(error.retry_after, trip.open_s)
    return trip.open_s
