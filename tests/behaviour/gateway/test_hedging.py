"""A second attempt when the first is late, and the backup of a probe."""

import asyncio

import pytest

from hamlet.core import errors
from hamlet.registry import ReservedThroughput
from hamlet.routing.retry_budget import RetryBudget
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import chat_request
from support.gateway import GatewayHarness, deployment, fast_policy

UNAVAILABLE = errors.UpstreamUnavailable("down")


def failing_provider() -> ScriptedProvider:
    return ScriptedProvider([UNAVAILABLE])


def hedging_harness(
    first: ScriptedProvider, second: ScriptedProvider, **more: object
) -> GatewayHarness:
    """A route that hedges after 0.3 s, and has seen enough responses to know that this is late."""
    deployments = [
        [deployment(first, "a", region="kr")],
        [deployment(ScriptedProvider(), "near", region="kr")],
        [deployment(second, "b", region="jp")],
    ]
    harness = GatewayHarness(*deployments, policy=fast_policy(hedge=True, **more))
    for stream in (True, False):
        latency_model = (
            harness.load_balancer.route_state(harness.route, stream=stream)
            .tiers[0]
            .candidates[0]
            .latency_model
        )
        for _ in range(40):
            latency_model.learn(1.0, 0.001)
    return harness


async def test_late_response_is_hedged_in_other_region_and_loser_is_cancelled() -> None:
    slow, quick_one = ScriptedProvider([30.0]), ScriptedProvider(says("hedged"))
    harness = hedging_harness(slow, quick_one)
    assert await harness.read_text() == "hedged"
    assert slow.closed == 1
    (ended,) = harness.observer.ended
    assert (ended.deployment.id, ended.attempts, ended.outcome) == ("b/m", 2, "ok")
    assert [a.cancelled for a in harness.observer.attempts] == [False, True]
    states = harness.load_balancer.deployment_states.values()
    assert all(c.in_flight == 0 and not c.breaker.is_tripped for c in states)


async def test_hedged_primary_can_win() -> None:
    first = ScriptedProvider([0.4, *says("first")])
    second = ScriptedProvider([30.0])
    harness = hedging_harness(first, second)
    assert await harness.read_text() == "first"
    assert second.closed == 1
    assert harness.observer.ended[0].deployment.id == "a/m"


async def test_failed_primary_leaves_hedge() -> None:
    first = ScriptedProvider([0.4, UNAVAILABLE])
    second = ScriptedProvider([0.3, *says("second")])
    harness = hedging_harness(first, second)
    assert await harness.read_text() == "second"


async def test_hedged_call_fails_if_both_attempts_fail() -> None:
    first, second = ScriptedProvider([0.4, UNAVAILABLE]), ScriptedProvider([UNAVAILABLE])
    harness = hedging_harness(first, second, attempts=1)
    with pytest.raises(errors.UpstreamUnavailable):
        await harness.read_text()
    assert all(c.in_flight == 0 for c in harness.load_balancer.deployment_states.values())


async def test_bad_request_ends_hedged_call() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([errors.InvalidRequest("no")])
    harness = hedging_harness(first, second)
    with pytest.raises(errors.InvalidRequest):
        await harness.read_text()
    assert first.closed == 1


async def test_cancelling_hedged_call_cancels_both_attempts() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([30.0])
    harness = hedging_harness(first, second)
    call = asyncio.ensure_future(harness.read_text())
    while not second.calls:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in harness.load_balancer.deployment_states.values())


async def test_simultaneous_hedged_responses_end_call_once() -> None:
    both = asyncio.Event()
    first = ScriptedProvider([both, *says("first")])
    second = ScriptedProvider([both, *says("second")])
    harness = hedging_harness(first, second)
    opening = asyncio.ensure_future(harness.open_stream())
    while not second.calls:
        await asyncio.sleep(0.01)
    both.set()
    stream = await opening
    assert (first.closed, second.closed) in {(0, 1), (1, 0)}
    assert harness.admission.in_flight == 1, "the call goes on"
    assert harness.observer.ended == []
    text = "".join([getattr(event, "text", "") async for event in stream])
    await stream.aclose()
    (ended,) = harness.observer.ended
    assert (text, ended.deployment.id) in {("first", "a/m"), ("second", "b/m")}
    assert (ended.outcome, ended.attempts) == ("ok", 2)
    assert harness.admission.in_flight == 0
    assert all(c.in_flight == 0 for c in harness.load_balancer.deployment_states.values())


@pytest.mark.parametrize("policy", [{"hedge": True}, {"hold_back": True}, {}], ids=str)
async def test_cancel_at_any_loop_iteration_ends_call_once(policy) -> None:
    completed = 0
    for iterations in range(40):
        released = asyncio.Event()
        provider = ScriptedProvider([released, *says("hello")])
        harness = GatewayHarness([deployment(provider, "a")], policy=fast_policy(**policy))
        latency_model = (
            harness.load_balancer.route_state(harness.route).tiers[0].candidates[0].latency_model
        )
        for _ in range(40):
            latency_model.learn(1.0, 0.001)
        call = asyncio.ensure_future(harness.read_text())
        while not provider.calls:
            await asyncio.sleep(0)
        released.set()
        for _ in range(iterations):
            await asyncio.sleep(0)
        call.cancel()
        (text,) = await asyncio.gather(call, return_exceptions=True)
        completed += text == "hello"
        (ended,) = harness.observer.ended
        assert ended.outcome == ("ok" if text == "hello" else "cancelled"), iterations
        assert harness.admission.in_flight == 0
        assert all(c.in_flight == 0 for c in harness.load_balancer.deployment_states.values())
        assert provider.closed == 1
    assert 0 < completed < 40


async def test_early_failure_is_retried_and_not_hedged() -> None:
    harness = hedging_harness(failing_provider(), ScriptedProvider(says("second")))
    harness.load_balancer.deployment_states["near/m"].cool_down(60, harness.load_balancer.clock())
    assert await harness.read_text() == "second"


@pytest.mark.parametrize(
    "obstacle", ["budget", "hedge_budget", "long", "crowded", "unknown", "nobody"]
)
async def test_call_is_not_hedged_when_a_condition_fails(obstacle: str) -> None:
    first = ScriptedProvider([0.5, *says("first")])
    second = ScriptedProvider(says("second"))
    harness = hedging_harness(first, second)
    route_state = harness.load_balancer.route_state(harness.route)
    request = chat_request("hi", "r", stream=True)
    if obstacle == "budget":
        while route_state.retry_budget.remaining_ratio > 0.3:
            route_state.retry_budget.try_start_retry()
            route_state.retry_budget.end_retry()
    elif obstacle == "hedge_budget":
        object.__setattr__(route_state, "hedge_budget", RetryBudget(0.0, max_balance=0.5))
    elif obstacle == "long":
        request = chat_request("word " * 5000, "r", stream=True)
    elif obstacle == "crowded":
        target = deployment(first, "a", capacity=ReservedThroughput(60, 1000, 3.0))
        harness.load_balancer.deployment_state(target).capacity_model.reserve(
            24_000, harness.load_balancer.clock()
        )
    elif obstacle == "unknown":
        del route_state.tiers[0].candidates[0].latency_model._sorted[:]
    else:
        for name in ("near/m", "b/m"):
            harness.load_balancer.deployment_states[name].cool_down(
                60, harness.load_balancer.clock()
            )
    assert await harness.read_text(request) == "first"
    assert second.calls == []


async def test_failed_probe_is_replaced_by_backup() -> None:
    failing, well = failing_provider(), ScriptedProvider(says("well"))
    harness = GatewayHarness(
        [deployment(failing)], [deployment(well, "b")], policy=fast_policy(attempts=1)
    )
    state = harness.load_balancer.deployment_state(deployment(failing))
    state.breaker.open("failures", harness.load_balancer.clock() - 20.0)
    harness.load_balancer._mark_changed(state)
    assert await harness.read_text() == "well"
    assert [a.deployment.id for a in harness.observer.attempts] == ["a/m", "b/m"]
    assert state.breaker.state(harness.load_balancer.clock()) == "open"


async def test_successful_probe_closes_circuit_breaker() -> None:
    healed = ScriptedProvider(says("healed"))
    harness = GatewayHarness(
        [deployment(healed)], [deployment(ScriptedProvider(), "b")], policy=fast_policy()
    )
    state = harness.load_balancer.deployment_state(deployment(healed))
    state.breaker.open("failures", harness.load_balancer.clock() - 20.0)
    harness.load_balancer._mark_changed(state)
    assert [await harness.read_text() for _ in range(2)] == ["healed"] * 2
    assert not state.breaker.is_tripped


async def test_slow_probe_loses_to_backup() -> None:
    slow, well = ScriptedProvider([30.0]), ScriptedProvider(says("well"))
    harness = GatewayHarness([deployment(slow)], [deployment(well, "b")], policy=fast_policy())
    state = harness.load_balancer.deployment_state(deployment(slow))
    state.breaker.open("failures", harness.load_balancer.clock() - 20.0)
    harness.load_balancer._mark_changed(state)
    assert await harness.read_text() == "well"
    assert state.in_flight == 0
    assert not state.breaker.is_probe_due(harness.load_balancer.clock())


@pytest.mark.parametrize("streamed", [True, False])
async def test_simultaneous_hedged_responses_leave_no_stream_open(streamed: bool) -> None:
    gate = asyncio.Event()
    first, second = ScriptedProvider([gate, *says("one")]), ScriptedProvider([gate, *says("two")])
    harness = hedging_harness(first, second)
    call = asyncio.ensure_future(harness.read_text(chat_request("hi", "r", stream=streamed)))
    while not second.calls:
        await asyncio.sleep(0.01)
    gate.set()
    assert await call in ("one", "two")
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in harness.load_balancer.deployment_states.values())


async def test_hedges_count_among_the_upstream_calls_of_a_call() -> None:
    first, second = ScriptedProvider([0.5, *says("first")]), ScriptedProvider(says("second"))
    harness = hedging_harness(first, second, max_upstream_calls=1)
    assert await harness.read_text() == "first"
    assert second.calls == []
