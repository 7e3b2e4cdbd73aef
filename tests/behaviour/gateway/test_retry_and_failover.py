"""Spill, wait, retry, fail over or give up."""

import asyncio

import pytest

from hamlet.core import (
    ChatParams,
    Headroom,
    ModelCard,
    NativeChunk,
    Started,
    Usage,
    errors,
)
from hamlet.registry import ReservedThroughput
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import chat_request
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import GatewayHarness, deployment, fast_policy

RATE_LIMITED = errors.RateLimited("full", retry_after=30.0)
UNAVAILABLE = errors.UpstreamUnavailable("down")


def failing_provider(error: errors.ProviderError = RATE_LIMITED) -> ScriptedProvider:
    return ScriptedProvider([error])


async def test_rate_limited_tiers_spill_over_without_retry_budget() -> None:
    reserved = [deployment(failing_provider(), f"ptu{i}") for i in range(9)]
    far = [deployment(failing_provider(), f"far{i}") for i in range(9)]
    paid = ScriptedProvider(says("paid"))
    harness = GatewayHarness(
        reserved, far, [deployment(paid, "paid")], policy=fast_policy(attempts=1)
    )
    assert await harness.read_text() == "paid"
    attempted = [attempt.deployment.id[:3] for attempt in harness.observer.attempts]
    assert attempted == ["ptu", "ptu", "far", "far", "pai"]
    route_state = harness.load_balancer.route_state(harness.route)
    assert route_state.retry_budget.remaining_ratio == 1.0


async def test_waits_for_capacity_within_wait_budget() -> None:
    first = ScriptedProvider([errors.RateLimited("full", retry_after=0.05)], says("later"))
    harness = GatewayHarness([deployment(first)], policy=fast_policy(attempts=1))
    assert await harness.read_text() == "later"


async def test_wait_for_capacity_is_limited_by_wait_share() -> None:
    first = ScriptedProvider([errors.RateLimited("full", retry_after=2.0)], says("too late"))
    harness = GatewayHarness([deployment(first)], policy=fast_policy(wait_share=0.2, total_s=5.0))
    with pytest.raises(errors.RateLimited) as caught:
        await harness.read_text()
    assert 1.9 < caught.value.retry_after < 2.3, "the fleet's own earliest time"


async def test_wait_that_would_end_after_the_deadline_is_not_begun(monkeypatch) -> None:
    first = ScriptedProvider([errors.RateLimited("full", retry_after=0.26)], says("too late"))
    policy = fast_policy(wait_share=1.0, first_token_s=60.0, total_s=0.3)
    harness = GatewayHarness([deployment(first)], policy=policy)
    monkeypatch.setattr(harness.load_balancer.rng, "uniform", lambda low, high: high)
    with pytest.raises(errors.RateLimited):
        await harness.read_text()
    assert len(first.calls) == 1


async def test_deployment_that_only_the_capacity_model_calls_full_is_tried() -> None:
    provider = ScriptedProvider(says("there was room"))
    target = deployment(provider, capacity=ReservedThroughput(1, 60, 3.0))
    harness = GatewayHarness([target], policy=fast_policy())
    harness.load_balancer.deployment_state(target).capacity_model.reserve(
        1e6, harness.load_balancer.clock()
    )
    assert await harness.read_text() == "there was room"


async def test_only_deployment_is_called_at_once_even_if_it_is_an_outlier() -> None:
    provider = ScriptedProvider(says("slowly"))
    target = deployment(provider)
    harness = GatewayHarness(
        [target], policy=fast_policy(wait_share=1.0, first_token_s=60.0, total_s=60.0)
    )
    harness.load_balancer.route_state(harness.route)
    for _ in range(2):
        harness.load_balancer.deployment_state(target).slowness.observe(
            9.0, harness.load_balancer.clock()
        )
    assert await harness.read_text() == "slowly"
    assert (
        harness.load_balancer.deployment_state(target).slowness.is_outlier(
            harness.load_balancer.clock()
        )
        is False
    )
    assert harness.observer.ended[-1].duration_s < 30, (
        "the share of time for waits was not waited for"
    )


async def test_sheddable_call_is_not_sent_to_full_deployment() -> None:
    target = deployment(ScriptedProvider(), capacity=ReservedThroughput(1, 60, 3.0))
    harness = GatewayHarness([target], policy=fast_policy(), sheddable=True)
    harness.load_balancer.deployment_state(target).capacity_model.reserve(
        1e6, harness.load_balancer.clock()
    )
    with pytest.raises(errors.Saturated) as caught:
        await harness.read_text()
    assert caught.value.retry_after > 1


async def test_route_without_closed_circuit_breaker_raises_no_deployment() -> None:
    target = deployment(ScriptedProvider())
    harness = GatewayHarness([target], policy=fast_policy())
    harness.load_balancer.deployment_state(target).breaker.open(
        "config", harness.load_balancer.clock(), 300.0
    )
    with pytest.raises(errors.NoDeployment) as caught:
        await harness.read_text()
    assert caught.value.retry_after == pytest.approx(300, abs=1)


async def test_failover_to_deployments_with_a_good_record_needs_no_budget() -> None:
    failing = [deployment(failing_provider(UNAVAILABLE), f"a{i}") for i in range(2)]
    harness = GatewayHarness(failing, [deployment(ScriptedProvider(), "b")], policy=fast_policy())
    route_state = harness.load_balancer.route_state(harness.route)
    calls = [asyncio.create_task(harness.read_text()) for _ in range(40)]
    assert len(await asyncio.gather(*calls)) == 40
    assert route_state.retry_budget.remaining_ratio == 1.0


async def test_max_upstream_calls_bounds_everything_a_call_causes() -> None:
    tiers = [[deployment(failing_provider(UNAVAILABLE), f"{t}{i}") for i in range(9)] for t in "ab"]
    harness = GatewayHarness(*tiers, policy=fast_policy(attempts=10, max_upstream_calls=4))
    with pytest.raises(errors.UpstreamUnavailable):
        await harness.read_text()
    assert len(harness.observer.attempts) == 4


@pytest.mark.parametrize("wait_s", [0.05, 1.0, None])
@pytest.mark.parametrize("tiers", [1, 2])
async def test_refusals_with_short_waits_make_no_storm(wait_s: float | None, tiers: int) -> None:
    full = errors.RateLimited("full", upstream_status=429, retry_after=wait_s)
    harness = GatewayHarness(*([deployment(failing_provider(full), f"d{i}")] for i in range(tiers)))
    with pytest.raises(errors.RateLimited):
        await harness.read_text()
    assert len(harness.observer.attempts) <= 6


async def test_retry_budget_limits_retries_where_every_deployment_fails() -> None:
    tiers = [[deployment(failing_provider(UNAVAILABLE), f"{t}{i}") for i in range(9)] for t in "ab"]
    harness = GatewayHarness(*tiers, policy=fast_policy(attempts=10, retry_budget=0.0))
    for tier in tiers:
        for each in tier:
            harness.load_balancer.deployment_state(each).drain_retry_tokens(10.0)
    route_state = harness.load_balancer.route_state(harness.route)
    while route_state.retry_budget.remaining_ratio > 0.06:
        route_state.retry_budget.try_start_retry()
        route_state.retry_budget.end_retry()
    with pytest.raises(errors.UpstreamUnavailable):
        await harness.read_text()
    assert len(harness.observer.attempts) == 2
    assert route_state.retry_budget.retries_in_flight == 0


async def test_retry_that_cannot_end_before_deadline_is_not_started() -> None:
    slow = ScriptedProvider([0.2, UNAVAILABLE])
    other = ScriptedProvider()
    harness = GatewayHarness(
        [deployment(slow)], [deployment(other, "b")], policy=fast_policy(total_s=0.4)
    )
    with pytest.raises(errors.UpstreamUnavailable):
        await harness.read_text()
    assert other.calls == []


async def test_context_too_long_fails_over_to_larger_window_only() -> None:
    small, same = failing_provider(errors.ContextTooLong("too long")), ScriptedProvider()
    large = ScriptedProvider(says("read it all"))
    cards = [ModelCard(context_window=n) for n in (1000, 1000, 9000)]
    harness = GatewayHarness(
        [deployment(small, card=cards[0])],
        [deployment(same, "b", card=cards[1])],
        [deployment(large, "c", card=cards[2])],
        policy=fast_policy(),
    )
    assert await harness.read_text() == "read it all"
    assert same.calls == []
    alone = GatewayHarness(
        [deployment(failing_provider(errors.ContextTooLong("too long")))], policy=fast_policy()
    )
    with pytest.raises(errors.ContextTooLong):
        await alone.read_text()


async def test_prompt_over_every_context_window_is_not_sent() -> None:
    provider = ScriptedProvider()
    harness = GatewayHarness(
        [deployment(provider, card=ModelCard(context_window=100))], policy=fast_policy()
    )
    with pytest.raises(errors.ContextTooLong):
        await harness.read_text(chat_request("word " * 500, "r"))
    assert provider.calls == []


@pytest.mark.parametrize(("choice", "answers"), [("stop", False), ("failover", True)])
async def test_blocked_prompt_fails_over_only_if_policy_says_so(choice: str, answers: bool) -> None:
    tiers = (
        [deployment(failing_provider(errors.ContentBlocked("no")))],
        [deployment(ScriptedProvider(says("fine")), "b")],
    )
    harness = GatewayHarness(*tiers, policy=fast_policy(content_filter=choice))
    if answers:
        assert await harness.read_text() == "fine"
    else:
        with pytest.raises(errors.ContentBlocked):
            await harness.read_text()


async def test_reservation_uses_max_tokens() -> None:
    provider = ScriptedProvider([0.2, *says("x")])
    target = deployment(
        provider,
        capacity=ReservedThroughput(60, 1000, 3.0),
        defaults=ChatParams(max_tokens=900),
        caps=ChatParams(max_tokens=500),
    )
    harness = GatewayHarness([target], policy=fast_policy())
    call = asyncio.ensure_future(harness.read_text())
    while not provider.calls:
        await asyncio.sleep(0)
    capacity_model = harness.load_balancer.deployment_state(target).capacity_model
    assert capacity_model.fill(0, harness.load_balancer.clock()) == pytest.approx(
        1500 / 30_000, rel=0.02
    )
    await call


async def test_headroom_headers_reach_capacity_model() -> None:
    started = Started("1", "m", headroom=Headroom(utilisation=0.9))
    target = deployment(
        ScriptedProvider([started, *says("x")[1:]]), capacity=ReservedThroughput(60, 1000, 3.0)
    )
    harness = GatewayHarness([target], policy=fast_policy())
    await harness.read_text()
    assert (
        harness.load_balancer.deployment_state(target).capacity_model.fill(
            0, harness.load_balancer.clock()
        )
        > 0.3
    )


async def test_long_prompt_uses_prefix_affinity() -> None:
    chunk = NativeChunk(b"x", content=True, usage=Usage(2000, 5), end=True)
    deployments = [deployment(ScriptedNativeProvider([chunk]), f"d{i}") for i in range(12)]
    harness = GatewayHarness(deployments, policy=fast_policy())
    fields = {"model": b'"r"', "messages": b'[{"role":"user","content":"' + b"a" * 5000 + b'"}]'}
    for _ in range(4):
        stream = await harness.open_stream(dialect="openai", fields=fields, prompt_bytes=5100)
        async for _ in stream:
            pass
        await stream.aclose()
    attempted = [attempt.deployment.id for attempt in harness.observer.attempts]
    assert attempted.count(attempted[-1]) >= 3


async def test_retry_after_over_backoff_max_is_not_waited_for() -> None:
    error = errors.UpstreamUnavailable("down", retry_after=30.0)
    harness = GatewayHarness(
        [deployment(failing_provider(error))], policy=fast_policy(backoff_max_s=1.0)
    )
    with pytest.raises(errors.UpstreamUnavailable):
        await harness.read_text()
    assert len(harness.observer.attempts) == 1


async def test_failure_is_raised_if_other_deployment_cools_down_meanwhile(monkeypatch) -> None:
    other = deployment(ScriptedProvider(), "b")
    harness = GatewayHarness(
        [deployment(failing_provider(errors.UpstreamTimeout("late")))],
        [other],
        policy=fast_policy(),
    )
    monkeypatch.setattr(harness.load_balancer.rng, "uniform", lambda low, high: high)
    state, now = harness.load_balancer.deployment_state(other), harness.load_balancer.clock()
    asyncio.get_running_loop().call_later(0.01, state.cool_down, 60.0, now)
    with pytest.raises(errors.UpstreamTimeout):
        await harness.read_text()


async def test_exhausted_credit_during_backoff_is_not_retried() -> None:
    """The policy retries the same deployment first, but another call learns of the credit meanwhile."""
    exhausted, other = (
        ScriptedProvider([UNAVAILABLE], says("spent")),
        ScriptedProvider(says("other")),
    )
    deployments = [[deployment(exhausted)], [deployment(other, "b")]]
    harness = GatewayHarness(
        *deployments, policy=fast_policy(retry_first="same", backoff_base_s=0.2)
    )
    call = asyncio.create_task(harness.read_text())
    while not harness.observer.attempts:
        await asyncio.sleep(0)
    state = harness.load_balancer.deployment_state(deployments[0][0])
    state.breaker.open("quota", harness.load_balancer.clock(), 900)
    assert await call == "other"
    assert len(exhausted.calls) == 1


async def test_retry_after_over_backoff_max_fails_over_although_same_is_first() -> None:
    busy = failing_provider(errors.UpstreamUnavailable("down", retry_after=30.0))
    other = ScriptedProvider(says("other"))
    policy = fast_policy(retry_first="same", backoff_max_s=1.0)
    harness = GatewayHarness([deployment(busy)], [deployment(other, "b")], policy=policy)
    assert await harness.read_text() == "other"
    assert len(busy.calls) == 1
