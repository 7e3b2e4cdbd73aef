"""The native path of non-streaming calls: one coroutine of the adapter instead of a generator."""

import asyncio

import pytest

from hamlet.core import NativeChunk, NativeRequest, Usage, errors
from hamlet.gateway import ChatStream
from hamlet.testing.cases import chat_request
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import GatewayHarness, deployment, fast_policy

ANSWER = NativeChunk(b"{}", content=True, usage=Usage(3, 2), end=True)


class NonStreamingNative(ScriptedNativeProvider):
    """Returns the last of its items."""

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        chunk: NativeChunk = [item async for item in self.native(request)][-1]
        return chunk


async def open_native_stream(harness: GatewayHarness) -> ChatStream:
    return await harness.open_stream(
        chat_request("hi", "r"), dialect="openai", fields={"model": b'"r"'}
    )


async def test_native_response_is_recorded_and_settled() -> None:
    harness = GatewayHarness([deployment(NonStreamingNative([ANSWER]))])
    stream = await open_native_stream(harness)
    assert stream.read_all() == [ANSWER]
    await stream.aclose()
    (record,) = harness.observer.ended
    assert (record.outcome, record.native, record.usage) == ("ok", True, Usage(3, 2))
    assert harness.admission.in_flight == 0


async def test_streaming_call_does_not_use_native_whole() -> None:
    provider = NonStreamingNative([NativeChunk(b"a", content=True), NativeChunk(b"b", end=True)])
    harness = GatewayHarness([deployment(provider)])
    stream = await harness.open_stream(dialect="openai", fields={"model": b'"r"'})
    assert [chunk.data async for chunk in stream] == [b"a", b"b"]
    await stream.aclose()


@pytest.mark.parametrize("fault", [errors.UpstreamUnavailable("reset"), asyncio.Event()])
async def test_failure_or_timeout_fails_over(fault: object) -> None:
    bad, good = NonStreamingNative([fault, ANSWER]), NonStreamingNative([ANSWER])  # type: ignore[list-item]
    tiers = [deployment(bad)], [deployment(good, "b")]
    harness = GatewayHarness(*tiers, policy=fast_policy(total_s=1.5))
    stream = await open_native_stream(harness)
    assert stream.read_all() == [ANSWER]
    await stream.aclose()
    assert (len(bad.calls), len(good.calls), bad.closed) == (1, 1, 1)


async def test_response_without_end_is_an_error() -> None:
    harness = GatewayHarness([deployment(NonStreamingNative([NativeChunk(b"{", content=True)]))])
    stream = await open_native_stream(harness)
    with pytest.raises(errors.UpstreamProtocol) as caught:
        stream.read_all()
    await stream.aclose()
    assert caught.value.phase == "stream"
    assert harness.observer.ended[0].outcome == "error"
