"""How an error bears on the deployment it came from, and on its kin.

The rows are those of the classification table in the fleet design (section 1.5).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.routing.deployment_state import DeploymentState

_THROTTLE_BASE_S, _THROTTLE_MAX_S = 1.0, 30.0
_OVERLOAD_BASE_S, _OVERLOAD_MAX_S = 2.0, 60.0
_CONFIG_OPEN_S, _QUOTA_OPEN_S = 300.0, 900.0
_REGION_PENALTY_S = 10.0
_FAILED_SLOWNESS = 3.0
_TIMEOUT = errors.UpstreamTimeout


def apply_failure(
    state: DeploymentState, error: ProviderError, now: float, rng: random.Random
) -> None:
    """Cool down, count or open, as the error says. What is the caller's fault changes nothing."""
    breaker = state.breaker
    if isinstance(error, errors.RateLimited):
        _apply_rate_limit(state, error, now, rng)
    elif isinstance(error, errors.Overloaded) and not _is_plain_503(error):
        state.cool_down(_next_backoff_s(state, error, _OVERLOAD_BASE_S, _OVERLOAD_MAX_S), now)
    elif isinstance(error, errors.QuotaExhausted):
        breaker.open("quota", now, min(error.retry_after or _QUOTA_OPEN_S, _QUOTA_OPEN_S))
    elif isinstance(error, (errors.UpstreamAuth, errors.ModelMissing)):
        breaker.open("config", now, _CONFIG_OPEN_S)
    elif error.unhealthy:
        breaker.record_failure(now, failure_weight(error))
        # Until it has failed often enough to be left out, others are liked better.
        state.slowness.raise_to(_FAILED_SLOWNESS, now)
    else:
        breaker.abandon_probe(now)


def failure_weight(error: ProviderError) -> float:
    """How far a failure counts: an interrupted answer for half, as others may have cut it."""
    interrupted = error.phase == "stream" and not isinstance(error, _TIMEOUT)
    return 0.5 if interrupted or isinstance(error, errors.EmptyAnswer) else 1.0


def propagate_failure(
    error: ProviderError,
    quota_peers: Iterable[DeploymentState],
    region_peers: Iterable[DeploymentState],
    now: float,
) -> None:
    """What befalls the others: spent money is everybody's of the purse, overload the region's."""
    if isinstance(error, errors.QuotaExhausted) and error.retry_after is None:
        for state in quota_peers:
            state.breaker.open("quota", now, _QUOTA_OPEN_S)
    elif isinstance(error, errors.Overloaded):
        for state in region_peers:
            state.penalize(_REGION_PENALTY_S, now)


def _apply_rate_limit(
    state: DeploymentState, error: ProviderError, now: float, rng: random.Random
) -> None:
    backoff_s = _next_backoff_s(state, error, _THROTTLE_BASE_S, _THROTTLE_MAX_S)
    # A little more than asked, so that callers do not all come back in the same instant.
    state.cool_down(backoff_s * rng.uniform(1.0, 1.1), now)
    state.capacity_model.observe_refusal(now)
    state.breaker.abandon_probe(now)


def _next_backoff_s(
    state: DeploymentState, error: ProviderError, base_s: float, max_s: float
) -> float:
    state.consecutive_throttles += 1
    # 2 ** 9 is over any maximum here; without a bound the power would overflow one day.
    return error.retry_after or min(max_s, base_s * 2 ** min(state.consecutive_throttles - 1, 9))


def _is_plain_503(error: ProviderError) -> bool:
    return error.upstream_status == 503 and error.retry_after is None
