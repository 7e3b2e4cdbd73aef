"""The fast lane for an answer in one piece: a coroutine of the adapter's, and no generator."""

import asyncio

import pytest

from hamlet.core import NativeChunk, NativeRequest, Usage, errors
from hamlet.gateway import ChatStream
from hamlet.testing.cases import chat_request
from hamlet.testing.scripted import ScriptedNativeProvider
from support.gateway import GatewayHarness, deployment, fast_policy

ANSWER = NativeChunk(b"{}", content=True, usage=Usage(3, 2), end=True)


class NonStreamingNative(ScriptedNativeProvider):
    """Gives the last of its items at once."""

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        chunk: NativeChunk = [item async for item in self.native(request)][-1]
        return chunk


async def open_native_stream(bench: GatewayHarness) -> ChatStream:
    return await bench.open_stream(
        chat_request("hi", "r"), dialect="openai", fields={"model": b'"r"'}
    )


async def test_native_response_is_recorded_and_settled() -> None:
    bench = GatewayHarness([deployment(NonStreamingNative([ANSWER]))])
    stream = await open_native_stream(bench)
    assert stream.read_all() == [ANSWER]
    await stream.aclose()
    (record,) = bench.observer.ended
    assert (record.outcome, record.native, record.usage) == ("ok", True, Usage(3, 2))
    assert bench.admission.in_flight == 0


async def test_streaming_call_does_not_use_it() -> None:
    provider = NonStreamingNative([NativeChunk(b"a", content=True), NativeChunk(b"b", end=True)])
    bench = GatewayHarness([deployment(provider)])
    stream = await bench.open_stream(dialect="openai", fields={"model": b'"r"'})
    assert [chunk.data async for chunk in stream] == [b"a", b"b"]
    await stream.aclose()


@pytest.mark.parametrize("trouble", [errors.UpstreamUnavailable("reset"), asyncio.Event()])
async def test_after_a_failure_or_too_long_a_wait_another_answers(trouble: object) -> None:
    bad, good = NonStreamingNative([trouble, ANSWER]), NonStreamingNative([ANSWER])  # type: ignore[list-item]
    tiers = [deployment(bad)], [deployment(good, "b")]
    bench = GatewayHarness(*tiers, policy=fast_policy(total_s=1.5))
    stream = await open_native_stream(bench)
    assert stream.read_all() == [ANSWER]
    await stream.aclose()
    assert (len(bad.calls), len(good.calls), bad.closed) == (1, 1, 1)


async def test_response_without_end_is_an_error() -> None:
    bench = GatewayHarness([deployment(NonStreamingNative([NativeChunk(b"{", content=True)]))])
    stream = await open_native_stream(bench)
    with pytest.raises(errors.UpstreamProtocol) as caught:
        stream.read_all()
    await stream.aclose()
    assert caught.value.phase == "stream"
    assert bench.observer.ended[0].outcome == "error"
