"""What each error class does to its deployment and to the peers, as docs/retries.md has it."""

from __future__ import annotations

import random

import pytest

from hamlet.core import errors
from hamlet.core.errors import Cooldown, ProviderError
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.failure_policy import apply_failure, failure_weight, propagate_failure
from support.routing import stub_deployment

NOW = 1000.0
NOTHING = (0.0, None, 0.0, 1.0)


def make_state(name: str = "a") -> DeploymentState:
    return DeploymentState(stub_deployment(name), random.Random(1), NOW)


def effect_of(error: ProviderError) -> tuple[float, str | None, float, float]:
    """Cooldown in s, why the breaker is open, for how many s, and slowness, after one error."""
    state = make_state()
    apply_failure(state, error, NOW, random.Random(1))
    breaker = state.breaker
    return (
        round(max(0.0, state.cooldown_until - NOW), 1),
        breaker.reason,
        max(0.0, breaker.open_until - NOW) if breaker.is_tripped else 0.0,
        state.slowness.value(NOW),
    )


@pytest.mark.parametrize(
    ("error", "effect"),
    [
        (errors.InvalidRequest("x"), NOTHING),
        (errors.ContextTooLong("x"), NOTHING),
        (errors.Unsupported("x"), NOTHING),
        (errors.ContentBlocked("x"), NOTHING),
        (errors.Conflict("x"), NOTHING),
        (errors.Unfiltered("x"), NOTHING),
        (errors.LocalLimit("x"), NOTHING),
        (errors.StreamInterrupted("x"), NOTHING),
        (errors.ModelMissing("x"), (0.0, "config", 300.0, 1.0)),
        (errors.UpstreamAuth("x"), (0.0, "config", 300.0, 1.0)),
        (errors.UpstreamAuth("x", retry_after=5.0), (0.0, "config", 300.0, 1.0)),
        (errors.QuotaExhausted("x"), (0.0, "quota", 900.0, 1.0)),
        (errors.QuotaExhausted("x", retry_after=60.0), (0.0, "quota", 60.0, 1.0)),
        (errors.QuotaExhausted("x", retry_after=86_400.0), (0.0, "quota", 900.0, 1.0)),
        (errors.RateLimited("x"), (1.0, None, 0.0, 1.0)),
        (errors.RateLimited("x", upstream_status=503), (1.0, None, 0.0, 1.0)),
        (errors.Overloaded("x", upstream_status=529), (2.0, None, 0.0, 1.0)),
        (errors.Overloaded("x", upstream_status=503, retry_after=7.0), (7.0, None, 0.0, 1.0)),
        (errors.Overloaded("x", upstream_status=503), (0.0, None, 0.0, 3.0)),
        (errors.UpstreamTimeout("x"), (0.0, None, 0.0, 3.0)),
        (errors.UpstreamUnavailable("x"), (0.0, None, 0.0, 3.0)),
        (errors.UpstreamProtocol("x"), (0.0, None, 0.0, 3.0)),
        (errors.EmptyAnswer("x"), (0.0, None, 0.0, 3.0)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ProviderError) else "",
)
def test_the_effect_on_the_deployment(
    error: ProviderError, effect: tuple[float, str | None, float, float]
) -> None:
    assert effect_of(error) == effect


def test_a_rate_limit_waits_a_little_longer_than_it_says() -> None:
    waits = set()
    for seed in range(20):
        state = make_state()
        error = errors.RateLimited("x", retry_after=100.0)
        apply_failure(state, error, NOW, random.Random(seed))
        waits.add(state.cooldown_until - NOW)
    assert len(waits) == 20
    assert min(waits) >= 100.0
    assert max(waits) <= 110.0


@pytest.mark.parametrize(
    ("error", "longest_s"), [(errors.RateLimited, 33.0), (errors.Overloaded, 60.0)]
)
def test_cooldowns_double_up_to_a_limit(error: type[ProviderError], longest_s: float) -> None:
    state, waits = make_state(), []
    for _ in range(1500):
        state.cooldown_until = 0.0
        apply_failure(state, error("x"), NOW, random.Random(1))
        waits.append(state.cooldown_until - NOW)
    assert waits[1] == pytest.approx(2 * waits[0])
    assert waits[3] == pytest.approx(8 * waits[0])
    assert max(waits) <= longest_s


def test_only_a_rate_limit_says_that_the_capacity_is_used_up() -> None:
    for error, fill in ((errors.RateLimited("x"), 1.0), (errors.Overloaded("x"), 0.0)):
        state = make_state()
        apply_failure(state, error, NOW, random.Random(1))
        assert state.capacity_model.fill(0, NOW) == pytest.approx(fill)


@pytest.mark.parametrize(
    ("error", "weight"),
    [
        (errors.UpstreamUnavailable("x"), 1.0),
        (errors.UpstreamUnavailable("x", phase="connect"), 1.0),
        (errors.UpstreamUnavailable("x", phase="stream"), 0.5),
        (errors.UpstreamTimeout("x", phase="stream"), 1.0),
        (errors.EmptyAnswer("x"), 0.5),
        (errors.EmptyAnswer("x", phase="stream"), 0.5),
    ],
)
def test_weight_of_a_failure(error: ProviderError, weight: float) -> None:
    assert failure_weight(error) == weight


@pytest.mark.parametrize(
    ("error", "open_s", "penalty_s"),
    [
        (errors.QuotaExhausted("x"), 900.0, 0.0),
        (errors.QuotaExhausted("x", retry_after=60.0), 0.0, 0.0),
        (errors.Overloaded("x", upstream_status=503), 0.0, 10.0),
        (errors.Overloaded("x", upstream_status=429, retry_after=1.0), 0.0, 10.0),
        (errors.UpstreamAuth("x"), 0.0, 0.0),
    ],
)
def test_the_effect_on_peers(error: ProviderError, open_s: float, penalty_s: float) -> None:
    peer = make_state("peer")
    propagate_failure(error, [peer], NOW)
    assert (peer.breaker.open_until, peer.penalty_until) == (
        NOW + open_s if open_s else 0.0,
        NOW + penalty_s if penalty_s else 0.0,
    )


class AcmeBusy(ProviderError):
    """An error class of a plugin."""

    cooldown = Cooldown(base_s=4.0, max_s=8.0)


def test_a_plugins_own_error_class_counts_by_its_attributes() -> None:
    assert effect_of(AcmeBusy("x")) == (4.0, None, 0.0, 1.0)
