"""The fast lane for an answer in one piece: a coroutine of the adapter's, and no generator."""

import asyncio

import pytest

from hamlet.core import NativeChunk, NativeRequest, Usage, errors
from hamlet.gateway import ChatStream
from hamlet.testing.cases import ask
from hamlet.testing.scripted import ScriptedNative
from support.gateways import Bench, deployment, quick

ANSWER = NativeChunk(b"{}", content=True, usage=Usage(3, 2), end=True)


class Whole(ScriptedNative):
    """Gives the last of its items at once."""

    async def native_whole(self, request: NativeRequest) -> NativeChunk:
        chunk: NativeChunk = [item async for item in self.native(request)][-1]
        return chunk


async def opened(bench: Bench) -> ChatStream:
    return await bench.open(ask("hi", "r"), dialect="openai", fields={"model": b'"r"'})


async def test_it_is_told_and_settled_like_any_other() -> None:
    bench = Bench([deployment(Whole([ANSWER]))])
    stream = await opened(bench)
    assert stream.whole() == [ANSWER]
    await stream.aclose()
    (record,) = bench.notes.ended
    assert (record.outcome, record.native, record.usage) == ("ok", True, Usage(3, 2))
    assert bench.admission.in_flight == 0


async def test_a_stream_does_not_take_it() -> None:
    provider = Whole([NativeChunk(b"a", content=True), NativeChunk(b"b", end=True)])
    bench = Bench([deployment(provider)])
    stream = await bench.open(dialect="openai", fields={"model": b'"r"'})
    assert [chunk.data async for chunk in stream] == [b"a", b"b"]
    await stream.aclose()


@pytest.mark.parametrize("trouble", [errors.UpstreamUnavailable("reset"), asyncio.Event()])
async def test_after_a_failure_or_too_long_a_wait_another_answers(trouble: object) -> None:
    bad, good = Whole([trouble, ANSWER]), Whole([ANSWER])  # type: ignore[list-item]
    tiers = [deployment(bad)], [deployment(good, "b")]
    bench = Bench(*tiers, policy=quick(total_s=1.5))
    stream = await opened(bench)
    assert stream.whole() == [ANSWER]
    await stream.aclose()
    assert (len(bad.calls), len(good.calls), bad.closed) == (1, 1, 1)


async def test_an_answer_that_does_not_say_it_has_ended_is_no_answer() -> None:
    bench = Bench([deployment(Whole([NativeChunk(b"{", content=True)]))])
    stream = await opened(bench)
    with pytest.raises(errors.UpstreamProtocol) as caught:
        stream.whole()
    await stream.aclose()
    assert caught.value.phase == "stream"
    assert bench.notes.ended[0].outcome == "error"
