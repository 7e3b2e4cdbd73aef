"""The steps of a call: admit, route, estimate, attempt, commit, settle."""

import asyncio
import time

import pytest

from hamlet.core import (
    ChatParams,
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


async def test_success_is_recorded() -> None:
    provider = ScriptedProvider(says("Hel", "lo"))
    harness = GatewayHarness([deployment(provider)])
    assert await harness.read_text() == "Hello"
    (record,) = harness.observer.ended
    assert (record.outcome, record.finish_reason, record.attempts) == ("ok", FinishReason.STOP, 1)
    assert record.usage == Usage(3, 2)
    assert record.first_token_s is not None
    assert harness.admission.in_flight == 0
    assert provider.closed == 1


async def test_non_streaming_response_commits_at_its_end() -> None:
    broken = ScriptedProvider([*says("lost")[:2], errors.UpstreamUnavailable("reset")])
    good = ScriptedProvider(says("kept"))
    harness = GatewayHarness([deployment(broken)], [deployment(good, "b")], policy=fast_policy())
    assert await harness.read_text(chat_request("hi", "r")) == "kept"


async def test_committed_stream_is_not_retried() -> None:
    broken = ScriptedProvider([*says("seen")[:2], errors.UpstreamUnavailable("reset")])
    other = ScriptedProvider()
    harness = GatewayHarness([deployment(broken)], [deployment(other, "b")], policy=fast_policy())
    with pytest.raises(errors.UpstreamUnavailable) as caught:
        await harness.read_text()
    assert caught.value.phase == "stream"
    assert other.calls == []
    assert harness.observer.ended[0].outcome == "error"


@pytest.mark.parametrize(
    ("error", "failovers"),
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
async def test_failover_follows_error_policy(error: errors.ProviderError, failovers: int) -> None:
    first, second = ScriptedProvider([error]), ScriptedProvider(says("second"))
    harness = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=fast_policy())
    if failovers:
        assert await harness.read_text() == "second"
    else:
        with pytest.raises(type(error)) as caught:
            await harness.read_text()
        assert caught.value.deployment == "a/m"
    assert (len(first.calls), len(second.calls)) == (1, failovers)


async def test_same_deployment_is_retried_when_there_is_no_other() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=0.01)], says("later"))
    harness = GatewayHarness([deployment(provider)], policy=fast_policy())
    assert await harness.read_text() == "later"
    assert len(harness.observer.attempts) == 2


async def test_retry_first_same_retries_same_deployment() -> None:
    first = ScriptedProvider([errors.Conflict("again")], says("same"))
    second = ScriptedProvider(says("other"))
    policy = fast_policy(retry_first="same")
    harness = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=policy)
    assert await harness.read_text() == "same"


async def test_retry_after_over_backoff_max_ends_call() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=30.0)])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(backoff_max_s=1.0))
    with pytest.raises(errors.RateLimited):
        await harness.read_text()
    assert len(provider.calls) == 1


async def test_retry_after_past_deadline_ends_call() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=3.0)])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(total_s=0.5))
    with pytest.raises(errors.RateLimited):
        await harness.read_text()
    assert len(provider.calls) == 1


async def test_attempts_are_limited_by_policy() -> None:
    error = errors.Conflict("again")
    provider = ScriptedProvider([error], [error], [error], says("too late"))
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=3))
    with pytest.raises(errors.Conflict):
        await harness.read_text()
    assert len(provider.calls) == 3


async def test_failover_can_be_disabled() -> None:
    first, second = ScriptedProvider([errors.UpstreamAuth("no")]), ScriptedProvider()
    policy = fast_policy(failover=False)
    harness = GatewayHarness([deployment(first)], [deployment(second, "b")], policy=policy)
    with pytest.raises(errors.UpstreamAuth):
        await harness.read_text()
    assert second.calls == []


async def test_internal_exception_between_attempts_is_not_retried() -> None:
    first = ScriptedProvider([errors.Conflict("again")], [KeyError("bug")], says("third"))
    harness = GatewayHarness([deployment(first)], policy=fast_policy())
    with pytest.raises(errors.UpstreamProtocol):
        await harness.read_text()


async def test_adapter_exception_becomes_upstream_protocol_error() -> None:
    harness = GatewayHarness(
        [deployment(ScriptedProvider([ValueError("sk-secret")]))], policy=fast_policy()
    )
    with pytest.raises(errors.UpstreamProtocol, match="the adapter failed: ValueError") as caught:
        await harness.read_text()
    assert "sk-secret" not in str(caught.value)


async def test_adapter_exception_after_commit_becomes_upstream_protocol_error() -> None:
    provider = ScriptedProvider([*says("a")[:2], ValueError("bug")])
    with pytest.raises(errors.UpstreamProtocol, match="ValueError"):
        await GatewayHarness([deployment(provider)]).read_text()


async def test_first_token_timeout_fails_over() -> None:
    slow = ScriptedProvider([says("x")[0], 5.0, *says("x")[1:]])
    good = ScriptedProvider(says("quick"))
    policy = fast_policy(first_token_s=0.05)
    harness = GatewayHarness([deployment(slow)], [deployment(good, "b")], policy=policy)
    assert await harness.read_text() == "quick"
    assert isinstance(harness.observer.attempts[0].error, errors.UpstreamTimeout)
    assert slow.closed == 1


async def test_adapter_timeout_error_becomes_upstream_protocol_error() -> None:
    harness = GatewayHarness([deployment(ScriptedProvider([TimeoutError()]))], policy=fast_policy())
    with pytest.raises(errors.UpstreamProtocol, match="TimeoutError"):
        await harness.read_text()


async def test_idle_timeout_ends_stream() -> None:
    provider = ScriptedProvider([*says("a", "b")[:2], 5.0, *says("a", "b")[2:]])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(idle_s=0.05))
    with pytest.raises(errors.UpstreamTimeout, match="silent"):
        await harness.read_text()


async def test_slow_caller_does_not_trip_idle_timeout() -> None:
    harness = GatewayHarness(
        [deployment(ScriptedProvider(says(*"abc")))], policy=fast_policy(idle_s=0.03)
    )
    stream = await harness.open_stream()
    seen = []
    async for event in stream.events():
        await asyncio.sleep(0.05)
        seen.append(event)
    await stream.aclose()
    assert len(seen) == 5


async def test_total_timeout_ends_stream() -> None:
    gaps = [step for text in "abcdefgh" for step in (TextDelta(0, text), 0.05)]
    provider = ScriptedProvider([Started("1", "m"), *gaps])
    with pytest.raises(errors.UpstreamTimeout):
        await GatewayHarness([deployment(provider)], policy=fast_policy(total_s=0.15)).read_text()


async def test_caller_can_shorten_deadline() -> None:
    provider = ScriptedProvider([5.0])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=1))
    with pytest.raises(errors.UpstreamTimeout):
        await harness.read_text(timeout_s=0.05)


async def test_stream_without_end_is_an_error() -> None:
    harness = GatewayHarness([deployment(ScriptedProvider(says("a")[:2]))])
    with pytest.raises(errors.UpstreamProtocol, match="ended before"):
        await harness.read_text()


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_response_fails_over(stream: bool) -> None:
    empty, good = ScriptedProvider(says()[:1]), ScriptedProvider(says("good"))
    harness = GatewayHarness([deployment(empty)], [deployment(good, "b")], policy=fast_policy())
    assert await harness.read_text(chat_request("hi", "r", stream=stream)) == "good"


async def test_cancel_before_commit_settles_without_failure() -> None:
    provider = ScriptedProvider([5.0])
    harness = GatewayHarness([deployment(provider)])
    call = asyncio.ensure_future(harness.read_text())
    while not provider.calls:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert provider.closed == 1
    assert harness.observer.ended[0].outcome == "cancelled"
    assert harness.observer.attempts[0].cancelled
    assert harness.admission.in_flight == 0
    state = harness.load_balancer.deployment_state(deployment(provider))
    assert (state.in_flight, state.breaker.is_tripped, state.cooldown_until) == (
        0,
        False,
        0,
    )


async def test_early_close_is_recorded_as_cancelled_once() -> None:
    provider = ScriptedProvider(says(*"abc"))
    harness = GatewayHarness([deployment(provider)])
    stream = await harness.open_stream()
    assert stream.model == "scripted"
    await stream.aclose()
    await stream.aclose()
    assert [record.outcome for record in harness.observer.ended] == ["cancelled"]
    assert provider.closed == 1


async def test_cancelled_read_raises_cancelled_error() -> None:
    never = asyncio.Event()
    harness = GatewayHarness([deployment(ScriptedProvider([*says("a")[:2], never]))])
    stream = await harness.open_stream()

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await stream.aclose()
    assert harness.observer.ended[0].outcome == "cancelled"


@pytest.mark.parametrize(("streamed", "hold_back"), [(True, False), (True, True), (False, False)])
async def test_non_streaming_response_is_sent_before_attempt_is_recorded(
    streamed: bool, hold_back: bool
) -> None:
    harness = GatewayHarness(
        [deployment(ScriptedProvider(says("fine")))], policy=fast_policy(hold_back=hold_back)
    )
    stream = await harness.open_stream(chat_request("hi", "r", stream=streamed))
    assert len(harness.observer.attempts) == (1 if streamed else 0)
    await stream.aclose()
    assert [attempt.error for attempt in harness.observer.attempts] == [None]


async def test_failing_observer_does_not_affect_call() -> None:
    class Broken:
        def on_start(self, *args: object) -> None:
            raise RuntimeError

        on_attempt = on_end = on_start

    harness = GatewayHarness([deployment(ScriptedProvider(says("fine")))], observers=[Broken()])
    assert await harness.read_text() == "fine"
    assert harness.observer.ended[0].outcome == "ok"
    assert [name for name, _ in harness.log.events] == ["observer.failed"] * 3
    assert {fields["observer"] for _, fields in harness.log.events} == {"Broken"}


async def test_deployments_are_selected_by_feature() -> None:
    plain = ScriptedProvider(says("plain"))
    able = ScriptedProvider(says("able"))
    harness = GatewayHarness(
        [deployment(plain, card=ModelCard(features=frozenset()))],
        [deployment(able, "b", card=ModelCard(features=frozenset({Feature.JSON})))],
    )
    messages = (Message("user", (Text("hi"),)),)
    assert await harness.read_text(ChatRequest("r", messages, output=Output("json"))) == "able"
    with pytest.raises(errors.Unsupported, match="json_schema"):
        await harness.read_text(ChatRequest("r", messages, output=Output("schema")))


async def test_features_split_over_deployments_are_unsupported() -> None:
    harness = GatewayHarness(
        [deployment(ScriptedProvider(), card=ModelCard(features=frozenset({Feature.JSON})))],
        [
            deployment(
                ScriptedProvider(), "b", card=ModelCard(features=frozenset({Feature.CHOICES}))
            )
        ],
    )
    messages = (Message("user", (Text("hi"),)),)
    request = ChatRequest("r", messages, output=Output("json"), params=ChatParams(n=2))
    with pytest.raises(errors.Unsupported, match="choices, json"):
        await harness.read_text(request)


async def test_route_of_other_operation_is_not_found() -> None:
    harness = GatewayHarness([deployment(ScriptedProvider())])
    with pytest.raises(errors.RouteNotFound):
        await harness.read_text(chat_request("hi", "e"))
    with pytest.raises(errors.RouteNotFound):
        await harness.read_text(chat_request("hi", "nobody"))
    assert {record.route for record in harness.observer.ended} == {"unknown"}


async def test_all_unavailable_returns_retry_after() -> None:
    provider = ScriptedProvider([errors.RateLimited("wait", retry_after=7.0)])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(attempts=1))
    with pytest.raises(errors.RateLimited):
        await harness.read_text()
    with pytest.raises(errors.Saturated) as caught:
        await harness.read_text()
    assert 6.5 < caught.value.retry_after <= 7.7


async def test_deployment_at_max_in_flight_is_skipped() -> None:
    full, free = ScriptedProvider(says("full")), ScriptedProvider(says("free"))
    harness = GatewayHarness([deployment(full, max_in_flight=1)], [deployment(free, "b")])
    stream = await harness.open_stream()
    assert await harness.read_text() == "free"
    await stream.aclose()
    assert await harness.read_text() == "full"


async def test_native_path_is_used_between_equal_dialects() -> None:
    chunks = [
        NativeChunk(b"a", content=True, model="m-1"),
        NativeChunk(b"b", finish=FinishReason.STOP, usage=Usage(1, 1), end=True),
    ]
    provider = ScriptedNativeProvider(chunks)
    harness = GatewayHarness([deployment(provider)])
    stream = await harness.open_stream(dialect="openai", fields={"model": b'"r"'})
    data = b"".join([chunk.data async for chunk in stream])
    await stream.aclose()
    assert (data, stream.native, stream.model) == (b"ab", True, "m-1")
    assert harness.observer.ended[0].native
    assert await harness.read_text(dialect="anthropic") == ""


async def test_model_is_none_until_reported() -> None:
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
