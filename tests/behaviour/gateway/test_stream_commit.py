"""The commit point of a response, its timeouts, and responses that are held back."""

import asyncio
import gc
import weakref

import pytest

from hamlet.core import (
    ChatRequest,
    FinishReason,
    NativeChunk,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    errors,
)
from hamlet.core.chat import Finished, Started
from hamlet.gateway.paced_stream import MinRate, estimate_bytes, estimate_tokens
from hamlet.simulator import virtual_time as virtual
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import chat_request
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import GatewayHarness, deployment, fast_policy

STARTED = Started("1", "m")
FINISHED = Finished(FinishReason.STOP, Usage(1, 1), "stop")
EMPTY_DELTA = TextDelta(0, "")


async def test_empty_events_do_not_commit() -> None:
    role_only = ScriptedProvider([STARTED, EMPTY_DELTA, EMPTY_DELTA, errors.Overloaded("busy")])
    good = ScriptedProvider(says("good"))
    harness = GatewayHarness([deployment(role_only)], [deployment(good, "b")], policy=fast_policy())
    assert await harness.read_text() == "good"


@pytest.mark.parametrize(
    "content", [TextDelta(0, "a"), ToolCallDelta(0, "c", "f"), ReasoningDelta(0, "hm")]
)
async def test_first_content_commits(content) -> None:
    broken = ScriptedProvider([STARTED, content, errors.Overloaded("busy")])
    other = ScriptedProvider(says("other"))
    harness = GatewayHarness([deployment(broken)], [deployment(other, "b")], policy=fast_policy())
    with pytest.raises(errors.Overloaded):
        await harness.read_text()
    assert other.calls == []


async def test_pre_content_bytes_are_limited() -> None:
    flood = ScriptedProvider([STARTED, *[EMPTY_DELTA] * 1000])
    good = ScriptedProvider(says("good"))
    harness = GatewayHarness([deployment(flood)], [deployment(good, "b")], policy=fast_policy())
    assert await harness.read_text() == "good"
    error = harness.observer.attempts[0].error
    assert isinstance(error, errors.UpstreamProtocol)
    assert "without content" in error.message


async def test_keepalives_do_not_extend_first_token_timeout() -> None:
    pings = [step for _ in range(100) for step in (EMPTY_DELTA, 0.02)]
    provider = ScriptedProvider([STARTED, TextDelta(0, "a"), *pings, FINISHED])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(idle_s=0.1))
    with pytest.raises(errors.UpstreamTimeout, match="silent"):
        await harness.read_text()


def run_paced_stream(
    per_item: str, gap_s: float, min_tokens_per_s: float | None = None
) -> tuple[str | None, str]:
    """The outcome and the text, or the error, of a stream of two seconds of virtual time."""

    async def main() -> tuple[str | None, str]:
        steps = [step for _ in range(int(2 / gap_s)) for step in (TextDelta(0, per_item), gap_s)]
        provider = ScriptedProvider([STARTED, *steps, FINISHED])
        policy = fast_policy(idle_s=0.2, min_tokens_per_s=min_tokens_per_s)
        harness = GatewayHarness([deployment(provider)], policy=policy)
        try:
            text = await harness.read_text()
        except errors.UpstreamTimeout as error:
            text = error.message
        return harness.observer.ended[0].outcome, text

    return virtual.run(main())


def test_content_resets_idle_timeout() -> None:
    assert run_paced_stream("a", 0.15) == ("ok", "a" * 13)


def test_stream_below_min_rate_times_out() -> None:
    outcome, text = run_paced_stream("a", 0.02, min_tokens_per_s=500)
    assert outcome == "error"
    assert "too slowly" in text


def test_stream_at_min_rate_continues() -> None:
    assert run_paced_stream("a" * 40, 0.01, min_tokens_per_s=20) == ("ok", "a" * 40 * 200)


def test_rate_is_measured_over_last_window() -> None:
    min_rate = MinRate(10, 4.0)
    for second in range(10):
        min_rate.record_tokens(12, float(second))
    min_rate.record_tokens(1, 10.5)
    with pytest.raises(errors.UpstreamTimeout):
        min_rate.record_tokens(1, 12.5)


def test_item_bytes_and_tokens() -> None:
    assert [
        estimate_tokens(i)
        for i in (STARTED, EMPTY_DELTA, TextDelta(0, "ab"), TextDelta(0, "a" * 40))
    ] == [
        0,
        0,
        1,
        10,
    ]
    assert estimate_tokens(NativeChunk(b"x" * 900, content=True, pieces=3)) == 3
    assert estimate_tokens(NativeChunk(b"x", content=True)) == 1
    assert estimate_tokens(ToolCallDelta(0, arguments="a" * 40)) == 10
    assert estimate_bytes(NativeChunk(b"x" * 900)) > 900
    assert estimate_bytes(STARTED) == estimate_bytes(FINISHED)


async def test_held_back_response_fails_over_after_truncation() -> None:
    cut = ScriptedProvider([STARTED, TextDelta(0, "lost"), errors.UpstreamUnavailable("reset")])
    good = ScriptedProvider(says("kept", " whole"))
    policy = fast_policy(hold_back=True)
    harness = GatewayHarness([deployment(cut)], [deployment(good, "b")], policy=policy)
    assert await harness.read_text() == "kept whole"
    assert [request.stream for request in cut.calls + good.calls] == [True, True]
    assert harness.observer.ended[0].outcome == "ok"
    assert (cut.closed, good.closed) == (1, 1)


@pytest.mark.parametrize(
    "rest", [[5.0, FINISHED], [], [ValueError("bug"), FINISHED], [EMPTY_DELTA, 0.15] * 9]
)
async def test_held_back_response_fails_over_on_any_fault(rest: list) -> None:
    bad = ScriptedProvider([STARTED, TextDelta(0, "lost"), *rest])
    good = ScriptedProvider(says("kept"))
    policy = fast_policy(hold_back=True, idle_s=0.2)
    harness = GatewayHarness([deployment(bad)], [deployment(good, "b")], policy=policy)
    assert await harness.read_text() == "kept"


async def test_held_back_response_without_content_fails_over() -> None:
    empty = ScriptedProvider([STARTED])
    harness = GatewayHarness(
        [deployment(empty)],
        [deployment(ScriptedProvider(says("kept")), "b")],
        policy=fast_policy(hold_back=True),
    )
    assert await harness.read_text() == "kept"
    assert isinstance(harness.observer.attempts[0].error, errors.EmptyAnswer)


async def test_held_back_bytes_are_limited(monkeypatch) -> None:
    monkeypatch.setattr("hamlet.gateway.stream._MAX_BUFFERED_BYTES", 10_000)
    long = ScriptedProvider([STARTED, *[TextDelta(0, "x" * 1000)] * 20, FINISHED])
    harness = GatewayHarness([deployment(long)], policy=fast_policy(hold_back=True, attempts=1))
    with pytest.raises(errors.UpstreamProtocol, match="over 10000 bytes"):
        await harness.read_text()
    assert long.closed == 1


async def test_native_response_can_be_held_back() -> None:
    chunks = [
        NativeChunk(b"a", content=True, model="m-1", pieces=1),
        NativeChunk(b"b", finish=FinishReason.STOP, usage=Usage(1, 1), end=True),
    ]
    cut, good = ScriptedNativeProvider(chunks[:1]), ScriptedNativeProvider(chunks)
    policy = fast_policy(hold_back=True)
    harness = GatewayHarness([deployment(cut)], [deployment(good, "b")], policy=policy)
    stream = await harness.open_stream(dialect="openai", fields={"model": b'"r"'})
    assert b"".join([chunk.data async for chunk in stream]) == b"ab"
    await stream.aclose()
    assert stream.model == "m-1"


async def test_client_disconnect_cancels_held_back_response() -> None:
    provider = ScriptedProvider([STARTED, TextDelta(0, "a"), asyncio.Event()])
    harness = GatewayHarness([deployment(provider)], policy=fast_policy(hold_back=True))
    call = asyncio.ensure_future(harness.read_text())
    while not provider.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (provider.closed, harness.admission.in_flight) == (1, 0)


async def test_route_timeouts_reach_adapter() -> None:
    provider = ScriptedProvider(says("a"))
    native = ScriptedNativeProvider([NativeChunk(b"a", content=True, end=True)])
    policy = fast_policy(byte_idle_s=7.0, require_filter=True)
    harness = GatewayHarness([deployment(provider)], policy=policy)
    await harness.read_text()
    other = GatewayHarness([deployment(native)], policy=policy)
    await (await other.open_stream(dialect="openai", fields={"model": b'"r"'})).aclose()
    for request in (provider.calls[0], native.calls[0]):
        assert (request.terms.byte_idle_s, request.terms.require_filter) == (7.0, True)


async def test_stream_releases_request() -> None:
    provider = ScriptedProvider([STARTED, TextDelta(0, "a"), asyncio.Event()])
    harness, request = GatewayHarness([deployment(provider)]), chat_request("hi", "r", stream=True)

    def build() -> ChatRequest:
        return request

    build_ref = weakref.ref(build)
    stream = await harness.open_stream(build_request=build)
    del build
    gc.collect()
    assert build_ref() is None
    await stream.aclose()
