"""Spill, wait, retry, hedge or give up: where a call goes after each answer."""

import asyncio
import time

import pytest

from hamlet.core import (
    ChatParams,
    ChatRequest,
    Headroom,
    Message,
    ModelCard,
    NativeChunk,
    Started,
    Text,
    Usage,
    errors,
)
from hamlet.gateway import Admission, Caller
from hamlet.gateway.admission import Importance
from hamlet.gateway.overload import Distress
from hamlet.registry import Reserved
from hamlet.routing.retry_budget import RetryBudget
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import ask
from hamlet.testing.scripted import ScriptedNative
from support.gateways import Bench, deployment, quick

FULL = errors.RateLimited("full", retry_after=30.0)
DOWN = errors.UpstreamUnavailable("down")


def refusing(error: errors.ProviderError = FULL) -> ScriptedProvider:
    return ScriptedProvider([error])


async def test_a_full_fleet_spills_to_the_next_tier_for_free() -> None:
    reserved = [deployment(refusing(), f"ptu{i}") for i in range(9)]
    far = [deployment(refusing(), f"far{i}") for i in range(9)]
    paid = ScriptedProvider(says("paid"))
    bench = Bench(reserved, far, [deployment(paid, "paid")], policy=quick(attempts=1))
    assert await bench.text() == "paid"
    asked = [attempt.deployment.id[:3] for attempt in bench.notes.attempts]
    assert asked == ["ptu", "ptu", "far", "far", "pai"]
    traffic = bench.fleet.traffic(bench.route)
    assert traffic.budget.share_left == 1.0


async def test_waits_for_room_if_it_comes_soon() -> None:
    first = ScriptedProvider([errors.RateLimited("full", retry_after=0.05)], says("later"))
    bench = Bench([deployment(first)], policy=quick(attempts=1))
    assert await bench.text() == "later"


async def test_does_not_wait_longer_than_its_share_of_the_time() -> None:
    first = ScriptedProvider([errors.RateLimited("full", retry_after=2.0)], says("too late"))
    bench = Bench([deployment(first)], policy=quick(wait_share=0.2, total_s=5.0))
    with pytest.raises(errors.RateLimited) as caught:
        await bench.text()
    assert 1.9 < caught.value.retry_after < 2.3, "the fleet's own earliest time"


async def test_asks_a_deployment_that_only_our_ledger_calls_full() -> None:
    provider = ScriptedProvider(says("there was room"))
    it = deployment(provider, capacity=Reserved(1, 60, 3.0))
    bench = Bench([it], policy=quick())
    bench.fleet.condition(it).ledger.book(1e6, bench.fleet.clock())
    assert await bench.text() == "there was room"


async def test_the_only_deployment_is_asked_at_once_however_slow_it_has_become() -> None:
    provider = ScriptedProvider(says("slowly"))
    it = deployment(provider)
    bench = Bench([it], policy=quick(wait_share=1.0, first_token_s=60.0, total_s=60.0))
    bench.fleet.traffic(bench.route)
    for _ in range(2):
        bench.fleet.condition(it).slowness.sample(9.0, bench.fleet.clock())
    assert await bench.text() == "slowly"
    assert bench.fleet.condition(it).slowness.lasts(bench.fleet.clock()) is False
    assert bench.notes.ended[-1].duration_s < 30, "the share of time for waits was not waited for"


async def test_what_may_be_shed_is_not_forced_on_a_full_deployment() -> None:
    it = deployment(ScriptedProvider(), capacity=Reserved(1, 60, 3.0))
    bench = Bench([it], policy=quick(), sheddable=True)
    bench.fleet.condition(it).ledger.book(1e6, bench.fleet.clock())
    with pytest.raises(errors.Saturated) as caught:
        await bench.text()
    assert caught.value.retry_after > 1


async def test_a_route_whose_deployments_are_all_out_says_so() -> None:
    it = deployment(ScriptedProvider())
    bench = Bench([it], policy=quick())
    bench.fleet.condition(it).breaker.open("config", bench.fleet.clock(), 300.0)
    with pytest.raises(errors.NoDeployment) as caught:
        await bench.text()
    assert caught.value.retry_after == pytest.approx(300, abs=1)


async def test_the_budget_bounds_retries_however_many_the_policy_allows() -> None:
    tiers = [[deployment(refusing(DOWN), f"{t}{i}") for i in range(9)] for t in "ab"]
    bench = Bench(*tiers, policy=quick(attempts=10, retry_budget=0.0))
    traffic = bench.fleet.traffic(bench.route)
    while traffic.budget.share_left > 0.06:
        traffic.budget.take()
        traffic.budget.done()
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.text()
    assert len(bench.notes.attempts) == 2
    assert traffic.budget.retrying == 0


async def test_no_retry_is_begun_that_cannot_end_in_time() -> None:
    slow = ScriptedProvider([0.2, DOWN])
    other = ScriptedProvider()
    bench = Bench([deployment(slow)], [deployment(other, "b")], policy=quick(total_s=0.4))
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.text()
    assert other.calls == []


async def test_too_long_a_prompt_goes_only_to_a_larger_window() -> None:
    small, same = refusing(errors.ContextTooLong("too long")), ScriptedProvider()
    large = ScriptedProvider(says("read it all"))
    cards = [ModelCard(context_window=n) for n in (1000, 1000, 9000)]
    bench = Bench(
        [deployment(small, card=cards[0])],
        [deployment(same, "b", card=cards[1])],
        [deployment(large, "c", card=cards[2])],
        policy=quick(),
    )
    assert await bench.text() == "read it all"
    assert same.calls == []
    alone = Bench([deployment(refusing(errors.ContextTooLong("too long")))], policy=quick())
    with pytest.raises(errors.ContextTooLong):
        await alone.text()


async def test_a_prompt_that_fits_nowhere_is_not_sent() -> None:
    provider = ScriptedProvider()
    bench = Bench([deployment(provider, card=ModelCard(context_window=100))], policy=quick())
    with pytest.raises(errors.ContextTooLong):
        await bench.text(ask("word " * 500, "r"))
    assert provider.calls == []


@pytest.mark.parametrize(("choice", "answers"), [("stop", False), ("failover", True)])
async def test_a_blocked_prompt_is_shown_to_another_filter_only_on_demand(
    choice: str, answers: bool
) -> None:
    tiers = (
        [deployment(refusing(errors.ContentBlocked("no")))],
        [deployment(ScriptedProvider(says("fine")), "b")],
    )
    bench = Bench(*tiers, policy=quick(content_filter=choice))
    if answers:
        assert await bench.text() == "fine"
    else:
        with pytest.raises(errors.ContentBlocked):
            await bench.text()


async def test_max_tokens_is_what_a_call_books() -> None:
    provider = ScriptedProvider([0.2, *says("x")])
    it = deployment(
        provider,
        capacity=Reserved(60, 1000, 3.0),
        defaults=ChatParams(max_tokens=900),
        caps=ChatParams(max_tokens=500),
    )
    bench = Bench([it], policy=quick())
    call = asyncio.ensure_future(bench.text())
    while not provider.calls:
        await asyncio.sleep(0)
    ledger = bench.fleet.condition(it).ledger
    assert ledger.fill(0, bench.fleet.clock()) == pytest.approx(1500 / 30_000, rel=0.02)
    await call


async def test_a_hint_in_the_headers_reaches_the_ledger() -> None:
    told = Started("1", "m", headroom=Headroom(utilisation=0.9))
    it = deployment(ScriptedProvider([told, *says("x")[1:]]), capacity=Reserved(60, 1000, 3.0))
    bench = Bench([it], policy=quick())
    await bench.text()
    assert bench.fleet.condition(it).ledger.fill(0, bench.fleet.clock()) > 0.3


async def test_a_long_prompt_comes_back_to_where_it_was_read() -> None:
    chunk = NativeChunk(b"x", content=True, usage=Usage(2000, 5), end=True)
    rows = [deployment(ScriptedNative([chunk]), f"d{i}") for i in range(12)]
    bench = Bench(rows, policy=quick())
    fields = {"model": b'"r"', "messages": b'[{"role":"user","content":"' + b"a" * 5000 + b'"}]'}
    for _ in range(4):
        stream = await bench.open(dialect="openai", fields=fields, size=5100)
        async for _ in stream:
            pass
        await stream.aclose()
    asked = [attempt.deployment.id for attempt in bench.notes.attempts]
    assert asked.count(asked[-1]) >= 3


async def test_a_wait_longer_than_the_policys_longest_is_not_begun() -> None:
    error = errors.UpstreamUnavailable("down", retry_after=30.0)
    bench = Bench([deployment(refusing(error))], policy=quick(backoff_max_s=1.0))
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.text()
    assert len(bench.notes.attempts) == 1


async def test_if_the_other_goes_away_meanwhile_the_failure_is_told(monkeypatch) -> None:
    other = deployment(ScriptedProvider(), "b")
    bench = Bench([deployment(refusing(errors.UpstreamTimeout("late")))], [other], policy=quick())
    monkeypatch.setattr(bench.fleet.rng, "uniform", lambda low, high: high)
    condition, now = bench.fleet.condition(other), bench.fleet.clock()
    asyncio.get_running_loop().call_later(0.01, condition.cool_down, 60.0, now)
    with pytest.raises(errors.UpstreamTimeout):
        await bench.text()


# -- hedging


def hedging(first: ScriptedProvider, second: ScriptedProvider, **more: object) -> Bench:
    """A route that hedges after 0.3 s, having seen enough answers to know that 0.3 s is late."""
    rows = [
        [deployment(first, "a", region="kr")],
        [deployment(ScriptedProvider(), "near", region="kr")],
        [deployment(second, "b", region="jp")],
    ]
    bench = Bench(*rows, policy=quick(hedge=True, **more))
    for stream in (True, False):
        expectation = (
            bench.fleet.traffic(bench.route, stream=stream).tiers[0].members[0].expectation
        )
        for _ in range(40):
            expectation.learn(1.0, 0.001)
    return bench


async def test_a_late_answer_is_hedged_in_another_region_and_the_loser_called_off() -> None:
    slow, quick_one = ScriptedProvider([30.0]), ScriptedProvider(says("hedged"))
    bench = hedging(slow, quick_one)
    assert await bench.text() == "hedged"
    assert slow.closed == 1
    (ended,) = bench.notes.ended
    assert (ended.deployment.id, ended.attempts, ended.outcome) == ("b/m", 2, "ok")
    assert [a.cancelled for a in bench.notes.attempts] == [False, True]
    conditions = bench.fleet.conditions.values()
    assert all(c.in_flight == 0 and not c.breaker.opened for c in conditions)


async def test_the_first_may_still_win() -> None:
    first = ScriptedProvider([0.4, *says("first")])
    second = ScriptedProvider([30.0])
    bench = hedging(first, second)
    assert await bench.text() == "first"
    assert second.closed == 1
    assert bench.notes.ended[0].deployment.id == "a/m"


async def test_one_of_two_failing_leaves_the_other() -> None:
    first = ScriptedProvider([0.4, DOWN])
    second = ScriptedProvider([0.3, *says("second")])
    bench = hedging(first, second)
    assert await bench.text() == "second"


async def test_both_failing_is_a_failure() -> None:
    first, second = ScriptedProvider([0.4, DOWN]), ScriptedProvider([DOWN])
    bench = hedging(first, second, attempts=1)
    with pytest.raises(errors.UpstreamUnavailable):
        await bench.text()
    assert all(c.in_flight == 0 for c in bench.fleet.conditions.values())


async def test_a_request_that_is_wrong_ends_the_race() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([errors.InvalidRequest("no")])
    bench = hedging(first, second)
    with pytest.raises(errors.InvalidRequest):
        await bench.text()
    assert first.closed == 1


async def test_cancelling_a_race_cancels_both() -> None:
    first, second = ScriptedProvider([30.0]), ScriptedProvider([30.0])
    bench = hedging(first, second)
    call = asyncio.ensure_future(bench.text())
    while not second.calls:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in bench.fleet.conditions.values())


async def test_of_two_answers_at_once_one_is_read_and_the_call_ends_once() -> None:
    both = asyncio.Event()
    first = ScriptedProvider([both, *says("first")])
    second = ScriptedProvider([both, *says("second")])
    bench = hedging(first, second)
    opening = asyncio.ensure_future(bench.open())
    while not second.calls:
        await asyncio.sleep(0.01)
    both.set()
    stream = await opening
    assert (first.closed, second.closed) in {(0, 1), (1, 0)}
    assert bench.admission.in_flight == 1, "the call goes on"
    assert bench.notes.ended == []
    said = "".join([getattr(event, "text", "") async for event in stream])
    await stream.aclose()
    (ended,) = bench.notes.ended
    assert (said, ended.deployment.id) in {("first", "a/m"), ("second", "b/m")}
    assert (ended.outcome, ended.attempts) == ("ok", 2)
    assert bench.admission.in_flight == 0
    assert all(c.in_flight == 0 for c in bench.fleet.conditions.values())


@pytest.mark.parametrize("policy", [{"hedge": True}, {"hold_back": True}, {}], ids=str)
async def test_a_call_that_is_called_off_at_any_turn_of_the_loop_ends_once(policy) -> None:
    whole = 0
    for turns in range(40):
        go = asyncio.Event()
        provider = ScriptedProvider([go, *says("hello")])
        bench = Bench([deployment(provider, "a")], policy=quick(**policy))
        expectation = bench.fleet.traffic(bench.route).tiers[0].members[0].expectation
        for _ in range(40):
            expectation.learn(1.0, 0.001)
        call = asyncio.ensure_future(bench.text())
        while not provider.calls:
            await asyncio.sleep(0)
        go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        (said,) = await asyncio.gather(call, return_exceptions=True)
        whole += said == "hello"
        (ended,) = bench.notes.ended
        assert ended.outcome == ("ok" if said == "hello" else "cancelled"), turns
        assert bench.admission.in_flight == 0
        assert all(c.in_flight == 0 for c in bench.fleet.conditions.values())
        assert provider.closed == 1
    assert 0 < whole < 40


async def test_an_early_failure_is_retried_and_not_hedged() -> None:
    bench = hedging(refusing(DOWN), ScriptedProvider(says("second")))
    bench.fleet.conditions["near/m"].cool_down(60, bench.fleet.clock())
    assert await bench.text() == "second"


@pytest.mark.parametrize("spoil", ["budget", "hedges", "long", "crowded", "unknown", "nobody"])
async def test_hedging_stops_when_it_would_do_harm(spoil: str) -> None:
    first = ScriptedProvider([0.5, *says("first")])
    second = ScriptedProvider(says("second"))
    bench = hedging(first, second)
    traffic = bench.fleet.traffic(bench.route)
    request = ask("hi", "r", stream=True)
    if spoil == "budget":
        while traffic.budget.share_left > 0.3:
            traffic.budget.take()
            traffic.budget.done()
    elif spoil == "hedges":
        object.__setattr__(traffic, "hedges", RetryBudget(0.0, cap=0.5))
    elif spoil == "long":
        request = ask("word " * 5000, "r", stream=True)
    elif spoil == "crowded":
        it = deployment(first, "a", capacity=Reserved(60, 1000, 3.0))
        bench.fleet.condition(it).ledger.book(24_000, bench.fleet.clock())
    elif spoil == "unknown":
        del traffic.tiers[0].members[0].expectation._sorted[:]
    else:
        for name in ("near/m", "b/m"):
            bench.fleet.conditions[name].cool_down(60, bench.fleet.clock())
    assert await bench.text(request) == "first"
    assert second.calls == []


async def test_a_probe_has_a_backup_so_that_no_caller_pays_for_it() -> None:
    sick, well = refusing(DOWN), ScriptedProvider(says("well"))
    bench = Bench([deployment(sick)], [deployment(well, "b")], policy=quick(attempts=1))
    condition = bench.fleet.condition(deployment(sick))
    condition.breaker.open("failures", bench.fleet.clock() - 20.0)
    bench.fleet._track(condition)
    assert await bench.text() == "well"
    assert [a.deployment.id for a in bench.notes.attempts] == ["a/m", "b/m"]
    assert condition.breaker.state(bench.fleet.clock()) == "open"


async def test_a_probe_that_answers_lets_the_deployment_back_in() -> None:
    healed = ScriptedProvider(says("healed"))
    bench = Bench([deployment(healed)], [deployment(ScriptedProvider(), "b")], policy=quick())
    condition = bench.fleet.condition(deployment(healed))
    condition.breaker.open("failures", bench.fleet.clock() - 20.0)
    bench.fleet._track(condition)
    assert [await bench.text() for _ in range(2)] == ["healed"] * 2
    assert not condition.breaker.opened


async def test_a_probe_that_is_slow_loses_to_its_backup() -> None:
    slow, well = ScriptedProvider([30.0]), ScriptedProvider(says("well"))
    bench = Bench([deployment(slow)], [deployment(well, "b")], policy=quick())
    condition = bench.fleet.condition(deployment(slow))
    condition.breaker.open("failures", bench.fleet.clock() - 20.0)
    bench.fleet._track(condition)
    assert await bench.text() == "well"
    assert condition.in_flight == 0
    assert not condition.breaker.probe_due(bench.fleet.clock())


async def test_two_answers_at_once_leave_no_stream_open() -> None:
    gate = asyncio.Event()
    first, second = ScriptedProvider([gate, *says("one")]), ScriptedProvider([gate, *says("two")])
    bench = hedging(first, second)
    call = asyncio.ensure_future(bench.text())
    while not second.calls:
        await asyncio.sleep(0.01)
    gate.set()
    assert await call in ("one", "two")
    assert (first.closed, second.closed) == (1, 1)
    assert all(c.in_flight == 0 for c in bench.fleet.conditions.values())


# -- admission


async def test_a_call_waits_a_little_for_a_place() -> None:
    admission, caller = Admission(1), Caller("k")
    await admission.enter(caller, Importance.CRITICAL, 60.0)
    waiting = asyncio.ensure_future(admission.enter(caller, Importance.CRITICAL, 60.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    admission.leave(caller)
    await waiting
    assert admission.in_flight == 1
    with pytest.raises(errors.Busy):
        await admission.enter(caller, Importance.CRITICAL, 0.05)
    admission.leave(caller)
    assert admission.in_flight == 0


async def test_a_free_place_goes_to_whoever_holds_fewest_and_there_to_the_newest() -> None:
    admission, greedy, modest = Admission(2), Caller("greedy"), Caller("modest", weight=2.0)
    order: list[str] = []

    async def enter(caller: Caller, name: str) -> None:
        await admission.enter(caller, Importance.CRITICAL, 60.0)
        order.append(name)

    await enter(greedy, "first")
    await enter(greedy, "second")
    rows = [(greedy, "old"), (modest, "older"), (modest, "newer"), (greedy, "young")]
    waiting = [asyncio.ensure_future(enter(caller, name)) for caller, name in rows]
    await asyncio.sleep(0.01)
    for caller in (greedy, greedy, modest, modest):
        admission.leave(caller)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order[2:] == ["newer", "young", "older", "old"]


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.admit(caller)
    waiting = asyncio.ensure_future(admission.enter(caller, Importance.CRITICAL, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    late = asyncio.ensure_future(admission.enter(caller, Importance.CRITICAL, 60.0))
    await asyncio.sleep(0)
    admission.leave(caller)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert admission.in_flight == 0


async def test_a_place_that_comes_with_the_end_of_patience_is_taken() -> None:
    admission, caller = Admission(1), Caller("k")
    admission.admit(caller)
    waiting = asyncio.ensure_future(admission.enter(caller, Importance.CRITICAL, 0.1))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.001, admission.leave, caller)
    # The loop is held up until both are due in the same round: the place first, then the timeout.
    time.sleep(0.05)  # noqa: ASYNC251
    await waiting
    assert admission.in_flight == 1


async def test_the_last_places_are_not_for_what_may_be_shed() -> None:
    admission, caller = Admission(10), Caller("k")
    for _ in range(9):
        admission.admit(caller)
    with pytest.raises(errors.Busy):
        await admission.enter(caller, Importance.SHEDDABLE, 60.0)
    await admission.enter(caller, Importance.CRITICAL, 60.0)


def test_distress_sheds_in_order_and_recovers() -> None:
    distress = Distress()
    admission, caller = Admission(100, distress=lambda: distress.level), Caller("k")

    def refused() -> list[str]:
        names = []
        for importance in Importance:
            try:
                with admission.inside(caller, importance):
                    pass
            except errors.Busy:
                names.append(importance.name)
        return names

    seen = []
    for lagging in (True, True, True, True, False, False, False, False):
        distress.take(lagging=lagging, full=False)
        seen.append(len(refused()))
    assert seen == [1, 2, 3, 3, 2, 1, 0, 0]
    distress.take(lagging=False, full=True)
    assert refused() == ["SHEDDABLE"]


async def test_distress_sees_a_lagging_loop(monkeypatch) -> None:
    from hamlet.gateway import overload as module

    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    monkeypatch.setattr(module, "_EVERY_S", 0.01)
    monkeypatch.setattr(module, "_LAG_S", -1.0)
    watch = Distress(memory_limit=1 << 50)
    watch.start()
    while watch.level < 2:
        await asyncio.sleep(0.01)
    await watch.aclose()
    never_begun = Distress()
    await never_begun.aclose()
    assert watch.level >= 2
    assert never_begun.level == 0


def test_distress_sees_full_memory(monkeypatch, tmp_path) -> None:
    from hamlet.gateway import overload as module

    assert Distress(memory_limit=1)._is_full()
    assert not Distress(memory_limit=1 << 50)._is_full()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(module, "_CGROUP", limit)
    assert not Distress()._is_full(), "no limit is known"
    limit.write_text("max\n")
    assert not Distress()._is_full()
    limit.write_text("4096\n")
    assert Distress()._is_full()


def test_a_request_of_other_parts_than_text_is_sized_by_its_text() -> None:
    from hamlet.gateway import Call

    request = ChatRequest("r", (Message("user", (Text("안녕"),)),))
    assert Call.of(request).size == 6


async def test_nobody_is_asked_again_whose_money_ran_out_during_the_pause() -> None:
    """The same first, by the policy; but another call has learnt what is the matter meanwhile."""
    spent, other = ScriptedProvider([DOWN], says("spent")), ScriptedProvider(says("other"))
    rows = [[deployment(spent)], [deployment(other, "b")]]
    bench = Bench(*rows, policy=quick(retry_first="same", backoff_base_s=0.2))
    call = asyncio.create_task(bench.text())
    while not bench.notes.attempts:
        await asyncio.sleep(0)
    condition = bench.fleet.condition(rows[0][0])
    condition.breaker.open("quota", bench.fleet.clock(), 900)
    assert await call == "other"
    assert len(spent.calls) == 1
