"""How an error bears on the deployment it came from, and on its kin.

The rows are those of the classification table in the fleet design (section 1.5).
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.routing.deployment_state import Condition

_THROTTLE_BASE_S, _THROTTLE_MAX_S = 1.0, 30.0
_OVERLOAD_BASE_S, _OVERLOAD_MAX_S = 2.0, 60.0
_CONFIG_S, _QUOTA_S = 300.0, 900.0
_REGION_S = 10.0
_FAILED_SLOWNESS = 3.0
_STALLED = errors.UpstreamTimeout


def judge(condition: Condition, error: ProviderError, now: float, rng: random.Random) -> None:
    """Cool down, count or open, as the error says. What is the caller's fault changes nothing."""
    breaker = condition.breaker
    if isinstance(error, errors.RateLimited):
        _throttled(condition, error, now, rng)
    elif isinstance(error, errors.Overloaded) and not _plain_503(error):
        condition.cool_down(_wait(condition, error, _OVERLOAD_BASE_S, _OVERLOAD_MAX_S), now)
    elif isinstance(error, errors.QuotaExhausted):
        breaker.open("quota", now, min(error.retry_after or _QUOTA_S, _QUOTA_S))
    elif isinstance(error, (errors.UpstreamAuth, errors.ModelMissing)):
        breaker.open("config", now, _CONFIG_S)
    elif error.unhealthy:
        breaker.failed(now, blame(error))
        # Until it has failed often enough to be left out, others are liked better.
        condition.slowness.raise_to(_FAILED_SLOWNESS, now)
    else:
        breaker.abandon_probe(now)


def blame(error: ProviderError) -> float:
    """How far a failure counts: an interrupted answer for half, as others may have cut it."""
    interrupted = error.phase == "stream" and not isinstance(error, _STALLED)
    return 0.5 if interrupted or isinstance(error, errors.EmptyAnswer) else 1.0


def spread(
    error: ProviderError, purse: Iterable[Condition], region: Iterable[Condition], now: float
) -> None:
    """What befalls the others: spent money is everybody's of the purse, overload the region's."""
    if isinstance(error, errors.QuotaExhausted) and error.retry_after is None:
        for condition in purse:
            condition.breaker.open("quota", now, _QUOTA_S)
    elif isinstance(error, errors.Overloaded):
        for condition in region:
            condition.penalise(_REGION_S, now)


def _throttled(condition: Condition, error: ProviderError, now: float, rng: random.Random) -> None:
    wait = _wait(condition, error, _THROTTLE_BASE_S, _THROTTLE_MAX_S)
    # A little more than asked, so that callers do not all come back in the same instant.
    condition.cool_down(wait * rng.uniform(1.0, 1.1), now)
    condition.ledger.refused(now)
    condition.breaker.abandon_probe(now)


def _wait(condition: Condition, error: ProviderError, base_s: float, max_s: float) -> float:
    condition.throttles += 1
    # 2 ** 9 is over any maximum here; without a bound the power would overflow one day.
    return error.retry_after or min(max_s, base_s * 2 ** min(condition.throttles - 1, 9))


def _plain_503(error: ProviderError) -> bool:
    return error.upstream_status == 503 and error.retry_after is None
