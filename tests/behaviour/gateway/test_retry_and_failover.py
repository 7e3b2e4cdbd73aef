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


async def test_failover_to_deployments_whose_record_is_good_needs_no_budget() -> None:
    bad = [deployment(failing_provider(UNAVAILABLE), f"a{i}") for i in range(2)]
    bench = GatewayHarness(bad, [deployment(ScriptedProvider(), "b")], policy=fast_policy())
    traffic = bench.load_balancer.route_state(bench.route)
    calls = [asyncio.create_task(bench.read_text()) for _ in range(40)]
    assert len(await asyncio.gather(*calls)) == 40
    assert traffic.retry_budget.remaining_ratio == 1.0


async def test_one_bound_holds_over_all_that_a_call_causes() -> None:
    tiers = [[deployment(failing_provider(UNAVAILABLE), f"{t}{i}") for i in range(9)] for t in "ab"]
    bench = GatewayHarness(*tiers, policy=fast_policy(attempts=10, max_upstream_calls=4))
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.read_text()
    assert len(bench.observer.attempts) == 4


@pytest.mark.parametrize("wait_s", [0.05, 1.0, None])
@pytest.mark.parametrize("tiers", [1, 2])
async def test_refusals_with_short_waits_make_no_storm(wait_s: float | None, tiers: int) -> None:
    full = errors.RateLimited("full", upstream_status=429, retry_after=wait_s)
    bench = GatewayHarness(*([deployment(failing_provider(full), f"d{i}")] for i in range(tiers)))
    with pytest.raises(errors.RateLimited):
        await bench.read_text()
    assert len(bench.observer.attempts) <= 6


async def test_the_budget_bounds_retries_where_every_deployment_fails() -> None:
    tiers = [[deployment(failing_provider(UNAVAILABLE), f"{t}{i}") for i in range(9)] for t in "ab"]
    bench = GatewayHarness(*tiers, policy=fast_policy(attempts=10, retry_budget=0.0))
    for tier in tiers:
        for each in tier:
            bench.load_balancer.deployment_state(each).drain_retry_tokens(10.0)
    traffic = bench.load_balancer.route_state(bench.route)
    while traffic.retry_budget.remaining_ratio > 0.06:
        traffic.retry_budget.try_start_retry()
        traffic.retry_budget.end_retry()
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
        await bench.read_text()


# -- hedging


def hedging_harness(
    first: ScriptedProvider, second: ScriptedProvider, **more: object
) -> GatewayHarness:
    """A route that hedges after 0.3 s, having seen enough answers to know that 0.3 s is late."""
    rows = [
        [deployment(first, "a", region="kr")],
        [deployment(ScriptedProvider(), "near", region="kr")],
        [deployment(second, "b", region="jp")],
    ]
    bench = GatewayHarness(*rows, policy=fast_policy(hedge=True, **more))
    for stream in (True, False):
        expectation = (
            bench.load_balancer.route_state(bench.route, stream=stream)
            .tiers[0]
            .candidates[0]
            .latency_model
        )
        for _ in range(40):
            expectation.learn(1.0, 0.001)
    return bench


async def test_a_late_answer_is_hedged_in_another_region_and_the_loser_called_off() -> None:
    slow, quick_one = ScriptedProvider([30.0]), ScriptedProvider(says("hedged"))
    bench = hedging_harness(slow, quick_one)
    assert await bench.read_text() == "hedged"
    assert slow.closed == 1
    (ended,) = bench.observer.ended
    assert (ended.deployment.id, ended.attempts, ended.outcome) == ("b/m", 2, "ok")
    assert [a.cancelled for a in bench.observer.attempts] == [False, True]
    conditions = bench.load_balancer.deployment_states.values()
    assert all(c.in_flight == 0 and not c.breaker.is_tripped for c in conditions)


async def test_the_first_may_still_win() -> None:
    first = ScriptedProvider([0.4, *says("first")])
    second = ScriptedProvider([30.0])
    bench = hedging_harness(first, second)
    assert await bench.read_text() == "first"
    assert second.closed == 1
    assert bench.observer.ended[0].deployment.id == "a/m"


async def test_one_of_two_failing_leaves_the_other() -> None:
    first = ScriptedProvider([0.4, UNAVAILABLE])
    second = ScriptedProvider([0.3, *says("second")])
    bench = hedging_harness(first, second)
    assert await bench.read_text() == "second"


async def test_both_failing_is_a_failure() -> None:
    first, second = ScriptedProvider([0.4, UNAVAILABLE]), ScriptedProvider([UNAVAILABLE])
    bench = hedging_harness(first, second, attempts=1)
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.read_text()
    assert all(c.in_flight == 0 for c in bench.load_balancer.deployment_states.values())


async def test_bad_request_ends_hedged_call() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([errors.InvalidRequest("no")])
    bench = hedging_harness(first, second)
    with pytest.raises(errors.InvalidRequest):
        await bench.read_text()
    assert first.closed == 1


async def test_cancelling_hedged_call_cancels_both_attempts() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([30.0])
    bench = hedging_harness(first, second)
    call = asyncio.ensure_future(bench.read_text())
    while not second.calls:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in bench.load_balancer.deployment_states.values())


async def test_simultaneous_hedged_responses_end_call_once() -> None:
    both = asyncio.Event()
    first = ScriptedProvider([both, *says("first")])
    second = ScriptedProvider([both, *says("second")])
    bench = hedging_harness(first, second)
    opening = asyncio.ensure_future(bench.open_stream())
    while not second.calls:
        await asyncio.sleep(0.01)
    both.set()
    stream = await opening
    assert (first.closed, second.closed) in {(0, 1), (1, 0)}
    assert bench.admission.in_flight == 1, "the call goes on"
    assert bench.observer.ended == []
    said = "".join([getattr(event, "text", "") async for event in stream])
    await stream.aclose()
    (ended,) = bench.observer.ended
    assert (said, ended.deployment.id) in {("first", "a/m"), ("second", "b/m")}
    assert (ended.outcome, ended.attempts) == ("ok", 2)
    assert bench.admission.in_flight == 0
    assert all(c.in_flight == 0 for c in bench.load_balancer.deployment_states.values())


@pytest.mark.parametrize("policy", [{"hedge": True}, {"hold_back": True}, {}], ids=str)
async def test_cancel_at_any_loop_iteration_ends_call_once(policy) -> None:
    whole = 0
    for turns in range(40):
        go = asyncio.Event()
        provider = ScriptedProvider([go, *says("hello")])
        bench = GatewayHarness([deployment(provider, "a")], policy=fast_policy(**policy))
        expectation = (
            bench.load_balancer.route_state(bench.route).tiers[0].candidates[0].latency_model
        )
        for _ in range(40):
            expectation.learn(1.0, 0.001)
        call = asyncio.ensure_future(bench.read_text())
        while not provider.calls:
            await asyncio.sleep(0)
        go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        (said,) = await asyncio.gather(call, return_exceptions=True)
        whole += said == "hello"
        (ended,) = bench.observer.ended
        assert ended.outcome == ("ok" if said == "hello" else "cancelled"), turns
        assert bench.admission.in_flight == 0
        assert all(c.in_flight == 0 for c in bench.load_balancer.deployment_states.values())
        assert provider.closed == 1
    assert 0 < whole < 40


async def test_an_early_failure_is_retried_and_not_hedged() -> None:
    bench = hedging_harness(failing_provider(UNAVAILABLE), ScriptedProvider(says("second")))
    bench.load_balancer.deployment_states["near/m"].cool_down(60, bench.load_balancer.clock())
    assert await bench.read_text() == "second"


@pytest.mark.parametrize(
    "spoil", ["budget", "hedge_budget", "long", "crowded", "unknown", "nobody"]
)
async def test_hedging_stops_when_it_would_do_harm(spoil: str) -> None:
    first = ScriptedProvider([0.5, *says("first")])
    second = ScriptedProvider(says("second"))
    bench = hedging_harness(first, second)
    traffic = bench.load_balancer.route_state(bench.route)
    request = chat_request("hi", "r", stream=True)
    if spoil == "budget":
        while traffic.retry_budget.remaining_ratio > 0.3:
            traffic.retry_budget.try_start_retry()
            traffic.retry_budget.end_retry()
    elif spoil == "hedge_budget":
        object.__setattr__(traffic, "hedge_budget", RetryBudget(0.0, max_balance=0.5))
    elif spoil == "long":
        request = chat_request("word " * 5000, "r", stream=True)
    elif spoil == "crowded":
        it = deployment(first, "a", capacity=ReservedThroughput(60, 1000, 3.0))
        bench.load_balancer.deployment_state(it).capacity_model.reserve(
            24_000, bench.load_balancer.clock()
        )
    elif spoil == "unknown":
        del traffic.tiers[0].candidates[0].latency_model._sorted[:]
    else:
        for name in ("near/m", "b/m"):
            bench.load_balancer.deployment_states[name].cool_down(60, bench.load_balancer.clock())
    assert await bench.read_text(request) == "first"
    assert second.calls == []


async def test_a_probe_has_a_backup_so_that_no_caller_pays_for_it() -> None:
    sick, well = failing_provider(UNAVAILABLE), ScriptedProvider(says("well"))
    bench = GatewayHarness(
        [deployment(sick)], [deployment(well, "b")], policy=fast_policy(attempts=1)
    )
    condition = bench.load_balancer.deployment_state(deployment(sick))
    condition.breaker.open("failures", bench.load_balancer.clock() - 20.0)
    bench.load_balancer._mark_changed(condition)
    assert await bench.read_text() == "well"
    assert [a.deployment.id for a in bench.observer.attempts] == ["a/m", "b/m"]
    assert condition.breaker.state(bench.load_balancer.clock()) == "open"


async def test_a_probe_that_answers_lets_the_deployment_back_in() -> None:
    healed = ScriptedProvider(says("healed"))
    bench = GatewayHarness(
        [deployment(healed)], [deployment(ScriptedProvider(), "b")], policy=fast_policy()
    )
    condition = bench.load_balancer.deployment_state(deployment(healed))
    condition.breaker.open("failures", bench.load_balancer.clock() - 20.0)
    bench.load_balancer._mark_changed(condition)
    assert [await bench.read_text() for _ in range(2)] == ["healed"] * 2
    assert not condition.breaker.is_tripped


async def test_a_probe_that_is_slow_loses_to_its_backup() -> None:
    slow, well = ScriptedProvider([30.0]), ScriptedProvider(says("well"))
    bench = GatewayHarness([deployment(slow)], [deployment(well, "b")], policy=fast_policy())
    condition = bench.load_balancer.deployment_state(deployment(slow))
    condition.breaker.open("failures", bench.load_balancer.clock() - 20.0)
    bench.load_balancer._mark_changed(condition)
    assert await bench.read_text() == "well"
    assert condition.in_flight == 0
    assert not condition.breaker.is_probe_due(bench.load_balancer.clock())


async def test_two_answers_at_once_leave_no_stream_open() -> None:
    gate = asyncio.Event()
    first, second = ScriptedProvider([gate, *says("one")]), ScriptedProvider([gate, *says("two")])
    bench = hedging_harness(first, second)
    call = asyncio.ensure_future(bench.read_text())
    while not second.calls:
        await asyncio.sleep(0.01)
    gate.set()
    assert await call in ("one", "two")
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in bench.load_balancer.deployment_states.values())


# -- admission


async def test_admission_waits_for_a_slot() -> None:
    admission, caller = Admission(1), Caller("k")
    await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    admission.release_slot(caller)
    await waiting
    assert admission.in_flight == 1
    with pytest.raises(errors.Busy):
        await admission.acquire_slot(caller, Priority.CRITICAL, 0.05)
    admission.release_slot(caller)
    assert admission.in_flight == 0


async def test_free_slot_goes_to_least_loaded_caller_lifo() -> None:
    admission, greedy, modest = Admission(2), Caller("greedy"), Caller("modest", weight=2.0)
    order: list[str] = []

    async def enter(caller: Caller, name: str) -> None:
        await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)
        order.append(name)

    await enter(greedy, "first")
    await enter(greedy, "second")
    rows = [(greedy, "old"), (modest, "older"), (modest, "newer"), (greedy, "young")]
    waiting = [asyncio.ensure_future(enter(caller, name)) for caller, name in rows]
    await asyncio.sleep(0.01)
    for caller in (greedy, greedy, modest, modest):
        admission.release_slot(caller)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order[2:] == ["newer", "young", "older", "old"]


async def test_cancelled_admission_wait_releases_slot() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.acquire_slot_nowait(caller)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    late = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 60.0))
    await asyncio.sleep(0)
    admission.release_slot(caller)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert admission.in_flight == 0


async def test_slot_freed_at_queue_timeout_is_used() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.acquire_slot_nowait(caller)
    waiting = asyncio.ensure_future(admission.acquire_slot(caller, Priority.CRITICAL, 0.1))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.001, admission.release_slot, caller)
    # The loop is held up until both are due in the same round: the place first, then the timeout.
    time.sleep(0.05)  # noqa: ASYNC251
    await waiting
    assert admission.in_flight == 1


async def test_last_slots_are_reserved_for_critical_calls() -> None:
    admission, caller = Admission(10), Caller("k")
    for _ in range(9):
        admission.acquire_slot_nowait(caller)
    with pytest.raises(errors.Busy):
        await admission.acquire_slot(caller, Priority.SHEDDABLE, 60.0)
    await admission.acquire_slot(caller, Priority.CRITICAL, 60.0)


def test_overload_sheds_by_priority_and_recovers() -> None:
    distress = OverloadMonitor()
    admission, caller = Admission(100, overload_level=lambda: distress.level), Caller("k")

    def refused() -> list[str]:
        names = []
        for importance in Priority:
            try:
                with admission.hold_slot(caller, importance):
                    pass
            except errors.Busy:
                names.append(importance.name)
        return names

    seen = []
    for reason in ("memory", "memory", "files", "files", "lag", None, None, None):
        distress.update_level(reason)
        seen.append(len(refused()))
    assert seen == [1, 2, 3, 3, 2, 1, 0, 0]
    assert distress.reason is None
    distress.update_level("memory")
    assert (refused(), distress.reason) == (["SHEDDABLE"], "memory")


def test_lag_alone_sheds_no_critical_call() -> None:
    monitor = OverloadMonitor()
    admission = Admission(10, overload_level=lambda: monitor.level)
    for _ in range(30):
        monitor.update_level("lag")
    with admission.hold_slot(Caller()):
        assert monitor.reason == "lag"
    for priority in (Priority.SHEDDABLE, Priority.SCREEN):
        with pytest.raises(errors.Busy), admission.hold_slot(Caller(), priority):
            pass


async def test_a_refusal_for_want_of_room_spends_nothing_of_the_callers_rate() -> None:
    admission, limited = Admission(1), Caller("limited", rate=(2, 60.0))
    with admission.hold_slot(Caller("other")):
        for _ in range(5):
            with pytest.raises(errors.Busy):
                await admission.acquire_slot(limited, Priority.CRITICAL, call_timeout_s=0.01)
            with pytest.raises(errors.Busy):
                admission.acquire_slot_nowait(limited)
    for _ in range(2):
        with admission.hold_slot(limited):
            pass
    with pytest.raises(errors.LimitExceeded):
        admission.acquire_slot_nowait(limited)


async def test_overload_detects_event_loop_lag(monkeypatch) -> None:
    from hamlet.gateway import overload as module

    monkeypatch.setattr(module, "_WINDOW_S", 0.05)
    monkeypatch.setattr(module, "_SAMPLE_INTERVAL_S", 0.01)
    monkeypatch.setattr(module, "_MAX_LAG_S", -1.0)
    watch = OverloadMonitor(memory_limit_bytes=1 << 50)
    watch.start()
    while watch.level < 2:
        await asyncio.sleep(0.01)
    await watch.aclose()
    never_begun = OverloadMonitor()
    await never_begun.aclose()
    assert watch.level >= 2
    assert never_begun.level == 0


def test_overload_detects_memory_pressure(monkeypatch, tmp_path) -> None:
    from hamlet.gateway import overload as module

    assert OverloadMonitor(memory_limit_bytes=1)._exhausted_resource()
    assert not OverloadMonitor(memory_limit_bytes=1 << 50)._exhausted_resource()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(module, "_CGROUP_MEMORY_MAX", limit)
    assert not OverloadMonitor()._exhausted_resource(), "no limit is known"
    limit.write_text("max\n")
    assert not OverloadMonitor()._exhausted_resource()
    limit.write_text("4096\n")
    assert OverloadMonitor()._exhausted_resource()


def test_a_request_of_other_parts_than_text_is_sized_by_its_text() -> None:
    from hamlet.gateway import Call

    request = ChatRequest("r", (Message("user", (Text("안녕"),)),))
    assert Call.from_request(request).prompt_bytes == 6


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
