"""The life of a call: admit, plan, attempt, commit, settle."""

import asyncio

import pytest

from hamlet.core import (
    ChatParams,
    EmbeddingRequest,
    Feature,
    FinishReason,
    Message,
    ModelCard,
    NativeChunk,
    Output,
    Text,
    TextDelta,
    Usage,
    errors,
    unpack,
)
from hamlet.core.chat import ChatRequest, Started
from hamlet.gateway import Admission, Caller
from hamlet.gateway.attempt import Held
from hamlet.registry import Registry
from hamlet.registry.holder import Lease
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import ask
from hamlet.testing.scripted import ScriptedNative
from support.gateways import CONFIG, Bench, deployment, quick


async def test_answers_and_tells_of_it() -> None:
    provider = ScriptedProvider(says("Hel", "lo"))
    bench = Bench([deployment(provider)])
    assert await bench.text() == "Hello"
    (record,) = bench.notes.ended
    assert (record.outcome, record.finish, record.attempts) == ("ok", FinishReason.STOP, 1)
    assert record.usage == Usage(3, 2)
    assert record.first_token_s is not None
    assert bench.admission.in_flight == 0
    assert provider.closed == 1


async def test_a_whole_answer_commits_at_its_end() -> None:
    broken = ScriptedProvider([*says("lost")[:2], errors.UpstreamUnavailable("reset")])
    good = ScriptedProvider(says("kept"))
    bench = Bench([deployment(broken)], [deployment(good, "b")], policy=quick())
    assert await bench.text(ask("hi", "r")) == "kept"


async def test_a_stream_never_repeats_what_the_caller_saw() -> None:
    broken = ScriptedProvider([*says("seen")[:2], errors.UpstreamUnavailable("reset")])
    other = ScriptedProvider()
    bench = Bench([deployment(broken)], [deployment(other, "b")], policy=quick())
    with pytest.raises(errors.UpstreamUnavailable) as caught:
        await bench.text()
    assert caught.value.phase == "stream"
    assert other.calls == []
    assert bench.notes.ended[0].outcome == "error"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (errors.InvalidRequest("no"), 0),
        (errors.ContentBlocked("no"), 0),
        (errors.Unsupported("no"), 1),
        (errors.RateLimited("no", retry_after=60), 1),
        (errors.QuotaExhausted("no"), 1),
        (errors.UpstreamAuth("no"), 1),
        (errors.ModelMissing("no"), 1),
        (errors.UpstreamTimeout("no"), 1),
    ],
)
async def test_fails_over_as_the_errors_verdict_says(
    error: errors.ProviderError, asked: int
) -> None:
    first, second = ScriptedProvider([error]), ScriptedProvider(says("second"))
    bench = Bench([deployment(first)], [deployment(second, "b")], policy=quick())
    if asked:
        assert await bench.text() == "second"
    else:
        with pytest.raises(type(error)) as caught:
            await bench.text()
        assert caught.value.deployment == "a/m"
    assert (len(first.calls), len(second.calls)) == (1, asked)


async def test_tries_the_same_deployment_again_when_there_is_no_other() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=0.01)], says("later"))
    bench = Bench([deployment(provider)], policy=quick())
    assert await bench.text() == "later"
    assert len(bench.notes.attempts) == 2


async def test_may_prefer_the_same_deployment() -> None:
    first = ScriptedProvider([errors.Conflict("again")], says("same"))
    second = ScriptedProvider(says("other"))
    policy = quick(retry_first="same")
    bench = Bench([deployment(first)], [deployment(second, "b")], policy=policy)
    assert await bench.text() == "same"


async def test_does_not_wait_longer_than_the_policy_allows() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=30.0)])
    bench = Bench([deployment(provider)], policy=quick(backoff_max_s=1.0))
    with pytest.raises(errors.RateLimited):
        await bench.text()
    assert len(provider.calls) == 1


async def test_does_not_wait_past_the_deadline() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=3.0)])
    bench = Bench([deployment(provider)], policy=quick(total_s=0.5))
    with pytest.raises(errors.RateLimited):
        await bench.text()
    assert len(provider.calls) == 1


async def test_gives_up_after_the_policys_attempts() -> None:
    error = errors.Conflict("again")
    provider = ScriptedProvider([error], [error], [error], says("too late"))
    bench = Bench([deployment(provider)], policy=quick(attempts=3))
    with pytest.raises(errors.Conflict):
        await bench.text()
    assert len(provider.calls) == 3


async def test_failover_can_be_switched_off() -> None:
    first, second = ScriptedProvider([errors.UpstreamAuth("no")]), ScriptedProvider()
    policy = quick(failover=False)
    bench = Bench([deployment(first)], [deployment(second, "b")], policy=policy)
    with pytest.raises(errors.UpstreamAuth):
        await bench.text()
    assert second.calls == []


async def test_a_foreign_exception_between_attempts_is_not_retried() -> None:
    first = ScriptedProvider([errors.Conflict("again")], [KeyError("bug")], says("third"))
    bench = Bench([deployment(first)], policy=quick())
    with pytest.raises(errors.UpstreamProtocol):
        await bench.text()


async def test_a_plugins_bug_is_an_upstream_fault() -> None:
    bench = Bench([deployment(ScriptedProvider([ValueError("sk-secret")]))], policy=quick())
    with pytest.raises(errors.UpstreamProtocol, match="the adapter failed: ValueError") as caught:
        await bench.text()
    assert "sk-secret" not in str(caught.value)


async def test_a_plugins_bug_in_mid_stream_is_an_upstream_fault() -> None:
    provider = ScriptedProvider([*says("a")[:2], ValueError("bug")])
    with pytest.raises(errors.UpstreamProtocol, match="ValueError"):
        await Bench([deployment(provider)]).text()


async def test_the_first_token_is_waited_for_only_so_long() -> None:
    slow = ScriptedProvider([says("x")[0], 5.0, *says("x")[1:]])
    good = ScriptedProvider(says("quick"))
    policy = quick(first_token_s=0.05)
    bench = Bench([deployment(slow)], [deployment(good, "b")], policy=policy)
    assert await bench.text() == "quick"
    assert isinstance(bench.notes.attempts[0].error, errors.UpstreamTimeout)
    assert slow.closed == 1


async def test_an_adapters_own_timeout_error_is_its_bug() -> None:
    bench = Bench([deployment(ScriptedProvider([TimeoutError()]))], policy=quick())
    with pytest.raises(errors.UpstreamProtocol, match="TimeoutError"):
        await bench.text()


async def test_silence_in_mid_stream_ends_the_stream() -> None:
    provider = ScriptedProvider([*says("a", "b")[:2], 5.0, *says("a", "b")[2:]])
    bench = Bench([deployment(provider)], policy=quick(idle_s=0.05))
    with pytest.raises(errors.UpstreamTimeout, match="silent"):
        await bench.text()


async def test_a_slow_caller_is_not_taken_for_a_silent_upstream() -> None:
    bench = Bench([deployment(ScriptedProvider(says(*"abc")))], policy=quick(idle_s=0.03))
    stream = await bench.open()
    seen = []
    async for event in stream.events():
        await asyncio.sleep(0.05)
        seen.append(event)
    await stream.aclose()
    assert len(seen) == 5


async def test_the_whole_answer_has_a_deadline() -> None:
    gaps = [step for text in "abcdefgh" for step in (TextDelta(0, text), 0.05)]
    provider = ScriptedProvider([Started("1", "m"), *gaps])
    with pytest.raises(errors.UpstreamTimeout):
        await Bench([deployment(provider)], policy=quick(total_s=0.15)).text()


async def test_a_caller_may_ask_for_a_shorter_deadline() -> None:
    provider = ScriptedProvider([5.0])
    bench = Bench([deployment(provider)], policy=quick(attempts=1))
    with pytest.raises(errors.UpstreamTimeout):
        await bench.text(total_s=0.05)


async def test_a_stream_without_an_end_is_broken() -> None:
    bench = Bench([deployment(ScriptedProvider(says("a")[:2]))])
    with pytest.raises(errors.UpstreamProtocol, match="ended before"):
        await bench.text()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_empty_answer_is_tried_elsewhere(stream: bool) -> None:
    empty, good = ScriptedProvider(says()[:1]), ScriptedProvider(says("good"))
    bench = Bench([deployment(empty)], [deployment(good, "b")], policy=quick())
    assert await bench.text(ask("hi", "r", stream=stream)) == "good"


async def test_cancelling_before_the_commit_settles_without_blame() -> None:
    provider = ScriptedProvider([5.0])
    bench = Bench([deployment(provider)])
    call = asyncio.ensure_future(bench.text())
    while not provider.calls:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert provider.closed == 1
    assert bench.notes.ended[0].outcome == "cancelled"
    assert bench.notes.attempts[0].cancelled
    assert bench.admission.in_flight == 0
    condition = bench.fleet.condition(deployment(provider))
    assert (condition.in_flight, condition.breaker.opened, condition.cooldown_until) == (
        0,
        False,
        0,
    )


async def test_closing_early_is_a_cancellation_and_settles_once() -> None:
    provider = ScriptedProvider(says(*"abc"))
    bench = Bench([deployment(provider)])
    stream = await bench.open()
    assert stream.model == "scripted"
    await stream.aclose()
    await stream.aclose()
    assert [record.outcome for record in bench.notes.ended] == ["cancelled"]
    assert provider.closed == 1


async def test_a_cancelled_read_passes_the_cancellation_on() -> None:
    never = asyncio.Event()
    bench = Bench([deployment(ScriptedProvider([*says("a")[:2], never]))])
    stream = await bench.open()

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await stream.aclose()
    assert bench.notes.ended[0].outcome == "cancelled"


@pytest.mark.parametrize(("streamed", "held"), [(True, False), (True, True), (False, False)])
async def test_a_whole_answer_goes_out_before_its_attempt_is_told_but_no_stream_does(
    streamed: bool, held: bool
) -> None:
    bench = Bench([deployment(ScriptedProvider(says("fine")))], policy=quick(hold_back=held))
    stream = await bench.open(ask("hi", "r", stream=streamed))
    assert len(bench.notes.attempts) == (1 if streamed else 0)
    await stream.aclose()
    assert [attempt.error for attempt in bench.notes.attempts] == [None]


async def test_a_failing_observer_harms_nobody() -> None:
    class Broken:
        def on_start(self, *told: object) -> None:
            raise RuntimeError

        on_attempt = on_end = on_start

    bench = Bench([deployment(ScriptedProvider(says("fine")))], observers=[Broken()])
    assert await bench.text() == "fine"
    assert bench.notes.ended[0].outcome == "ok"
    assert [name for name, _ in bench.log.events] == ["observer.failed"] * 3
    assert {fields["observer"] for _, fields in bench.log.events} == {"Broken"}


async def test_features_choose_among_deployments() -> None:
    plain = ScriptedProvider(says("plain"))
    able = ScriptedProvider(says("able"))
    bench = Bench(
        [deployment(plain, card=ModelCard(features=frozenset()))],
        [deployment(able, "b", card=ModelCard(features=frozenset({Feature.JSON})))],
    )
    said = (Message("user", (Text("hi"),)),)
    assert await bench.text(ChatRequest("r", said, output=Output("json"))) == "able"
    with pytest.raises(errors.Unsupported, match="json_schema"):
        await bench.text(ChatRequest("r", said, output=Output("schema")))


async def test_no_one_deployment_has_all_features() -> None:
    bench = Bench(
        [deployment(ScriptedProvider(), card=ModelCard(features=frozenset({Feature.JSON})))],
        [
            deployment(
                ScriptedProvider(), "b", card=ModelCard(features=frozenset({Feature.CHOICES}))
            )
        ],
    )
    said = (Message("user", (Text("hi"),)),)
    request = ChatRequest("r", said, output=Output("json"), params=ChatParams(n=2))
    with pytest.raises(errors.Unsupported, match="choices, json"):
        await bench.text(request)


async def test_a_route_of_another_operation_is_not_found() -> None:
    bench = Bench([deployment(ScriptedProvider())])
    with pytest.raises(errors.RouteNotFound):
        await bench.text(ask("hi", "e"))
    with pytest.raises(errors.RouteNotFound):
        await bench.text(ask("hi", "nobody"))
    assert {record.route for record in bench.notes.ended} == {"unknown"}


async def test_every_deployment_out_says_when_to_come_back() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=7.0)])
    bench = Bench([deployment(provider)], policy=quick(attempts=1))
    with pytest.raises(errors.RateLimited):
        await bench.text()
    with pytest.raises(errors.Saturated) as caught:
        await bench.text()
    assert 6.5 < caught.value.retry_after <= 7.7


async def test_a_full_deployment_is_left_alone() -> None:
    full, free = ScriptedProvider(says("full")), ScriptedProvider(says("free"))
    bench = Bench([deployment(full, max_in_flight=1)], [deployment(free, "b")])
    held = await bench.open()
    assert await bench.text() == "free"
    await held.aclose()
    assert await bench.text() == "full"


async def test_a_caller_may_use_only_its_routes() -> None:
    bench = Bench([deployment(ScriptedProvider(says("yes")))])
    with pytest.raises(errors.RouteNotFound):
        await bench.open(caller=Caller("k", frozenset({"other"})))
    stream = await bench.open(caller=Caller("k", frozenset({"r"})))
    await stream.aclose()


def test_a_callers_rate_is_kept_and_refills() -> None:
    now = [100.0]
    admission = Admission(10, clock=lambda: now[0])
    caller = Caller("k", rate=(2, 60.0))
    for _ in range(2):
        admission.admit(caller)
    with pytest.raises(errors.LimitExceeded) as caught:
        admission.admit(caller)
    assert caught.value.retry_after == pytest.approx(30.0)
    now[0] += 30.0
    admission.admit(caller)
    admission.admit(Caller("other", rate=(2, 60.0)))
    assert admission.in_flight == 4


async def test_more_calls_than_hamlet_may_have_are_shed() -> None:
    bench = Bench([deployment(ScriptedProvider())], max_in_flight=1)
    held = await bench.open()
    with pytest.raises(errors.Busy):
        await bench.open()
    await held.aclose()
    bench.admission.draining = True
    with pytest.raises(errors.Draining):
        await bench.open()


async def test_embeds_with_failover() -> None:
    broken = ScriptedProvider([errors.UpstreamUnavailable("down")])
    good = ScriptedProvider([], vectors=[[1.0, 2.0]])
    bench = Bench([deployment(broken)], [deployment(good, "b")], policy=quick())
    answer = await bench.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert unpack(answer.vectors[0]) == [1.0, 2.0]
    assert bench.notes.ended[0].usage.input_tokens == 1
    assert good.calls[0].model == "m"


@pytest.mark.parametrize("step", [5.0, TimeoutError()])
async def test_an_embedding_that_takes_too_long_fails(step: object) -> None:
    bench = Bench([deployment(ScriptedProvider([step]))], policy=quick(total_s=0.05))  # type: ignore[list-item]
    wanted = errors.UpstreamTimeout if step == 5.0 else errors.UpstreamProtocol
    with pytest.raises(wanted):
        await bench.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert bench.admission.in_flight == 0


async def test_the_fast_lane_is_taken_between_equal_dialects() -> None:
    chunks = [
        NativeChunk(b"a", content=True, model="m-1"),
        NativeChunk(b"b", finish=FinishReason.STOP, usage=Usage(1, 1), end=True),
    ]
    provider = ScriptedNative(chunks)
    bench = Bench([deployment(provider)])
    stream = await bench.open(dialect="openai", fields={"model": b'"r"'})
    data = b"".join([chunk.data async for chunk in stream])
    await stream.aclose()
    assert (data, stream.native, stream.model) == (b"ab", True, "m-1")
    assert bench.notes.ended[0].native
    assert await bench.text(dialect="anthropic") == ""


async def test_the_model_is_unknown_until_somebody_says() -> None:
    provider = ScriptedNative([NativeChunk(b"a", content=True), NativeChunk(b"", end=True)])
    stream = await Bench([deployment(provider)]).open(dialect="openai")
    assert stream.model is None
    await stream.aclose()


def test_what_a_call_holds_is_given_back_once_however_often_it_ends() -> None:
    admission, lease, caller = Admission(1), Lease(Registry(CONFIG.config, {}, {})), Caller("one")
    held = Held(lease.take(), admission, caller)
    admission.admit(caller)
    held.placed = True
    held.close()
    held.close()
    assert (admission.in_flight, lease.holders) == (0, 0)
