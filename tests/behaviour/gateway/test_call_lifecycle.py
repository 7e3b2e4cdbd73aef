"""The life of a call: admit, plan, attempt, commit, settle."""

import asyncio
import time

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
from hamlet.gateway import Admission, Caller, CallRecord
from hamlet.gateway.call_context import CallContext
from hamlet.registry import Registry
from hamlet.registry.holder import RegistryLease
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import chat_request
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import CONFIG, GatewayHarness, deployment, fast_policy
from support.server import wait_until


async def test_success_is_recorded() -> None:
    provider = ScriptedProvider(says("Hel", "lo"))
    bench = GatewayHarness([deployment(provider)])
    assert await bench.read_text() == "Hello"
    (record,) = bench.observer.ended
    assert (record.outcome, record.finish_reason, record.attempts) == ("ok", FinishReason.STOP, 1)
    assert record.usage == Usage(3, 2)
    assert record.first_token_s is not None
    assert bench.admission.in_flight == 0
    assert provider.closed == 1


async def test_a_whole_answer_commits_at_its_end() -> None:
    broken = ScriptedProvider([*says("lost")[:2], errors.UpstreamUnavailable("reset")])
    good = ScriptedProvider(says("kept"))
    bench = GatewayHarness([deployment(broken)], [deployment(good, "b")], policy=fast_policy())
    assert await bench.read_text(chat_request("hi", "r")) == "kept"


async def test_a_stream_never_repeats_what_the_caller_saw() -> None:
    broken = ScriptedProvider([*says("seen")[:2], errors.UpstreamUnavailable("reset")])
    other = ScriptedProvider()
    bench = GatewayHarness([deployment(broken)], [deployment(other, "b")], policy=fast_policy())
    with pytest.raises(errors.UpstreamUnavailable) as caught:
        await bench.read_text()
    assert caught.value.phase == "stream"
    assert other.calls == []
    assert bench.observer.ended[0].outcome == "error"


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
async def test_failover_follows_error_policy(error: errors.ProviderError, asked: int) -> None:
    first, second = ScriptedProvider([error]), ScriptedProvider(says("second"))
    bench = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=fast_policy())
    if asked:
        assert await bench.read_text() == "second"
    else:
        with pytest.raises(type(error)) as caught:
            await bench.read_text()
        assert caught.value.deployment == "a/m"
    assert (len(first.calls), len(second.calls)) == (1, asked)


async def test_tries_the_same_deployment_again_when_there_is_no_other() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=0.01)], says("later"))
    bench = GatewayHarness([deployment(provider)], policy=fast_policy())
    assert await bench.read_text() == "later"
    assert len(bench.observer.attempts) == 2


async def test_may_prefer_the_same_deployment() -> None:
    first = ScriptedProvider([errors.Conflict("again")], says("same"))
    second = ScriptedProvider(says("other"))
    policy = fast_policy(retry_first="same")
    bench = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=policy)
    assert await bench.read_text() == "same"


async def test_does_not_wait_longer_than_the_policy_allows() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=30.0)])
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(backoff_max_s=1.0))
    with pytest.raises(errors.RateLimited):
        await bench.read_text()
    assert len(provider.calls) == 1


async def test_does_not_wait_past_the_deadline() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=3.0)])
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(total_s=0.5))
    with pytest.raises(errors.RateLimited):
        await bench.read_text()
    assert len(provider.calls) == 1


async def test_gives_up_after_the_policys_attempts() -> None:
    error = errors.Conflict("again")
    provider = ScriptedProvider([error], [error], [error], says("too late"))
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=3))
    with pytest.raises(errors.Conflict):
        await bench.read_text()
    assert len(provider.calls) == 3


async def test_failover_can_be_switched_off() -> None:
    first, second = ScriptedProvider([errors.UpstreamAuth("no")]), ScriptedProvider()
    policy = fast_policy(failover=False)
    bench = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=policy)
    with pytest.raises(errors.UpstreamAuth):
        await bench.read_text()
    assert second.calls == []


async def test_internal_exception_between_attempts_is_not_retried() -> None:
    first = ScriptedProvider([errors.Conflict("again")], [KeyError("bug")], says("third"))
    bench = GatewayHarness([deployment(first)], policy=fast_policy())
    with pytest.raises(errors.UpstreamProtocol):
        await bench.read_text()


async def test_a_plugins_bug_is_an_upstream_fault() -> None:
    bench = GatewayHarness(
        [deployment(ScriptedProvider([ValueError("sk-secret")]))], policy=fast_policy()
    )
    with pytest.raises(errors.UpstreamProtocol, match="the adapter failed: ValueError") as caught:
        await bench.read_text()
    assert "sk-secret" not in str(caught.value)


async def test_a_plugins_bug_in_mid_stream_is_an_upstream_fault() -> None:
    provider = ScriptedProvider([*says("a")[:2], ValueError("bug")])
    with pytest.raises(errors.UpstreamProtocol, match="ValueError"):
        await GatewayHarness([deployment(provider)]).read_text()


async def test_the_first_token_is_waited_for_only_so_long() -> None:
    slow = ScriptedProvider([says("x")[0], 5.0, *says("x")[1:]])
    good = ScriptedProvider(says("quick"))
    policy = fast_policy(first_token_s=0.05)
    bench = GatewayHarness([deployment(slow)], [deployment(good, "b")], policy=policy)
    assert await bench.read_text() == "quick"
    assert isinstance(bench.observer.attempts[0].error, errors.UpstreamTimeout)
    assert slow.closed == 1


async def test_an_adapters_own_timeout_error_is_its_bug() -> None:
    bench = GatewayHarness([deployment(ScriptedProvider([TimeoutError()]))], policy=fast_policy())
    with pytest.raises(errors.UpstreamProtocol, match="TimeoutError"):
        await bench.read_text()


async def test_idle_timeout_ends_stream() -> None:
    provider = ScriptedProvider([*says("a", "b")[:2], 5.0, *says("a", "b")[2:]])
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(idle_s=0.05))
    with pytest.raises(errors.UpstreamTimeout, match="silent"):
        await bench.read_text()


async def test_a_slow_caller_is_not_taken_for_a_silent_upstream() -> None:
    bench = GatewayHarness(
        [deployment(ScriptedProvider(says(*"abc")))], policy=fast_policy(idle_s=0.03)
    )
    stream = await bench.open_stream()
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
        await GatewayHarness([deployment(provider)], policy=fast_policy(total_s=0.15)).read_text()


async def test_a_caller_may_ask_for_a_shorter_deadline() -> None:
    provider = ScriptedProvider([5.0])
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=1))
    with pytest.raises(errors.UpstreamTimeout):
        await bench.read_text(timeout_s=0.05)


async def test_a_stream_without_an_end_is_broken() -> None:
    bench = GatewayHarness([deployment(ScriptedProvider(says("a")[:2]))])
    with pytest.raises(errors.UpstreamProtocol, match="ended before"):
        await bench.read_text()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_empty_answer_is_tried_elsewhere(stream: bool) -> None:
    empty, good = ScriptedProvider(says()[:1]), ScriptedProvider(says("good"))
    bench = GatewayHarness([deployment(empty)], [deployment(good, "b")], policy=fast_policy())
    assert await bench.read_text(chat_request("hi", "r", stream=stream)) == "good"


async def test_cancel_before_commit_settles_without_failure() -> None:
    provider = ScriptedProvider([5.0])
    bench = GatewayHarness([deployment(provider)])
    call = asyncio.ensure_future(bench.read_text())
    await wait_until(lambda: provider.calls, interval_s=0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert provider.closed == 1
    assert bench.observer.ended[0].outcome == "cancelled"
    assert bench.observer.attempts[0].cancelled
    assert bench.admission.in_flight == 0
    condition = bench.load_balancer.deployment_state(deployment(provider))
    assert (condition.in_flight, condition.breaker.is_tripped, condition.cooldown_until) == (
        0,
        False,
        0,
    )


async def test_closing_early_is_a_cancellation_and_settles_once() -> None:
    provider = ScriptedProvider(says(*"abc"))
    bench = GatewayHarness([deployment(provider)])
    stream = await bench.open_stream()
    assert stream.model == "scripted"
    await stream.aclose()
    await stream.aclose()
    assert [record.outcome for record in bench.observer.ended] == ["cancelled"]
    assert provider.closed == 1


async def test_a_cancelled_read_passes_the_cancellation_on() -> None:
    never = asyncio.Event()
    bench = GatewayHarness([deployment(ScriptedProvider([*says("a")[:2], never]))])
    stream = await bench.open_stream()

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await stream.aclose()
    assert bench.observer.ended[0].outcome == "cancelled"


@pytest.mark.parametrize(("streamed", "held"), [(True, False), (True, True), (False, False)])
async def test_non_streaming_response_is_sent_before_attempt_is_recorded(
    streamed: bool, held: bool
) -> None:
    bench = GatewayHarness(
        [deployment(ScriptedProvider(says("fine")))], policy=fast_policy(hold_back=held)
    )
    stream = await bench.open_stream(chat_request("hi", "r", stream=streamed))
    assert len(bench.observer.attempts) == (1 if streamed else 0)
    await stream.aclose()
    assert [attempt.error for attempt in bench.observer.attempts] == [None]


async def test_failing_observer_does_not_affect_call() -> None:
    class Broken:
        def on_start(self, *told: object) -> None:
            raise RuntimeError

        on_attempt = on_end = on_start

    bench = GatewayHarness([deployment(ScriptedProvider(says("fine")))], observers=[Broken()])
    assert await bench.read_text() == "fine"
    assert bench.observer.ended[0].outcome == "ok"
    assert [name for name, _ in bench.log.events] == ["observer.failed"] * 3
    assert {fields["observer"] for _, fields in bench.log.events} == {"Broken"}


async def test_features_choose_among_deployments() -> None:
    plain = ScriptedProvider(says("plain"))
    able = ScriptedProvider(says("able"))
    bench = GatewayHarness(
        [deployment(plain, card=ModelCard(features=frozenset()))],
        [deployment(able, "b", card=ModelCard(features=frozenset({Feature.JSON})))],
    )
    said = (Message("user", (Text("hi"),)),)
    assert await bench.read_text(ChatRequest("r", said, output=Output("json"))) == "able"
    with pytest.raises(errors.Unsupported, match="json_schema"):
        await bench.read_text(ChatRequest("r", said, output=Output("schema")))


async def test_no_one_deployment_has_all_features() -> None:
    bench = GatewayHarness(
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
        await bench.read_text(request)


async def test_a_route_of_another_operation_is_not_found() -> None:
    bench = GatewayHarness([deployment(ScriptedProvider())])
    with pytest.raises(errors.RouteNotFound):
        await bench.read_text(chat_request("hi", "e"))
    with pytest.raises(errors.RouteNotFound):
        await bench.read_text(chat_request("hi", "nobody"))
    assert {record.route for record in bench.observer.ended} == {"unknown"}


async def test_all_unavailable_returns_retry_after() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=7.0)])
    bench = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=1))
    with pytest.raises(errors.RateLimited):
        await bench.read_text()
    with pytest.raises(errors.Saturated) as caught:
        await bench.read_text()
    assert 6.5 < caught.value.retry_after <= 7.7


async def test_a_full_deployment_is_left_alone() -> None:
    full, free = ScriptedProvider(says("full")), ScriptedProvider(says("free"))
    bench = GatewayHarness([deployment(full, max_in_flight=1)], [deployment(free, "b")])
    held = await bench.open_stream()
    assert await bench.read_text() == "free"
    await held.aclose()
    assert await bench.read_text() == "full"


async def test_a_caller_may_use_only_its_routes() -> None:
    bench = GatewayHarness([deployment(ScriptedProvider(says("yes")))])
    with pytest.raises(errors.RouteNotFound):
        await bench.open_stream(caller=Caller("k", frozenset({"other"})))
    stream = await bench.open_stream(caller=Caller("k", frozenset({"r"})))
    await stream.aclose()


def test_a_callers_rate_is_kept_and_refills() -> None:
    now = [100.0]
    admission = Admission(10, clock=lambda: now[0])
    caller = Caller("k", rate=(2, 60.0))
    for _ in range(2):
        admission.acquire_slot_nowait(caller)
    with pytest.raises(errors.LimitExceeded) as caught:
        admission.acquire_slot_nowait(caller)
    assert caught.value.retry_after == pytest.approx(30.0)
    now[0] += 30.0
    admission.acquire_slot_nowait(caller)
    admission.acquire_slot_nowait(Caller("other", rate=(2, 60.0)))
    assert admission.in_flight == 4


async def test_more_calls_than_hamlet_may_have_are_shed() -> None:
    bench = GatewayHarness([deployment(ScriptedProvider())], max_in_flight=1)
    held = await bench.open_stream()
    with pytest.raises(errors.Busy):
        await bench.open_stream()
    await held.aclose()
    bench.admission.draining = True
    with pytest.raises(errors.Draining):
        await bench.open_stream()


async def test_embeds_with_failover() -> None:
    broken = ScriptedProvider([errors.UpstreamUnavailable("down")])
    good = ScriptedProvider([], vectors=[[1.0, 2.0]])
    bench = GatewayHarness([deployment(broken)], [deployment(good, "b")], policy=fast_policy())
    answer = await bench.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert unpack(answer.vectors[0]) == [1.0, 2.0]
    assert bench.observer.ended[0].usage.input_tokens == 1
    assert good.calls[0].model == "m"


@pytest.mark.parametrize("step", [5.0, TimeoutError()])
async def test_an_embedding_that_takes_too_long_fails(step: object) -> None:
    bench = GatewayHarness([deployment(ScriptedProvider([step]))], policy=fast_policy(total_s=0.05))  # type: ignore[list-item]
    wanted = errors.UpstreamTimeout if step == 5.0 else errors.UpstreamProtocol
    with pytest.raises(wanted):
        await bench.gateway.embed(EmbeddingRequest("e", ("x",)), Caller())
    assert bench.admission.in_flight == 0


async def test_native_path_is_used_between_equal_dialects() -> None:
    chunks = [
        NativeChunk(b"a", content=True, model="m-1"),
        NativeChunk(b"b", finish=FinishReason.STOP, usage=Usage(1, 1), end=True),
    ]
    provider = ScriptedNativeProvider(chunks)
    bench = GatewayHarness([deployment(provider)])
    stream = await bench.open_stream(dialect="openai", fields={"model": b'"r"'})
    data = b"".join([chunk.data async for chunk in stream])
    await stream.aclose()
    assert (data, stream.native, stream.model) == (b"ab", True, "m-1")
    assert bench.observer.ended[0].native
    assert await bench.read_text(dialect="anthropic") == ""


async def test_the_model_is_unknown_until_somebody_says() -> None:
    provider = ScriptedNativeProvider([NativeChunk(b"a", content=True), NativeChunk(b"", end=True)])
    stream = await GatewayHarness([deployment(provider)]).open_stream(dialect="openai")
    assert stream.model is None
    await stream.aclose()


def test_call_resources_are_released_exactly_once() -> None:
    admission, caller = Admission(1), Caller("one")
    lease = RegistryLease(Registry(CONFIG.config, {}, {}))
    record = CallRecord("chat", "r", caller.name, "req_1", False, 0.0)
    context = CallContext(record, caller, lease.acquire(), admission, time.monotonic)
    admission.acquire_slot_nowait(caller)
    context.has_slot = True
    context.close()
    context.close()
    assert (admission.in_flight, lease.ref_count) == (0, 0)
