"""When an answer is committed, how long it may take, and what holding it back is good for."""

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
from hamlet.gateway.paced_stream import Pace, size, tokens
from hamlet.simulator import virtual_time as virtual
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import ask
from hamlet.testing.scripted import ScriptedNative
from support.gateways import Bench, deployment, quick

BEGIN = Started("1", "m")
END = Finished(FinishReason.STOP, Usage(1, 1), "stop")
EMPTY = TextDelta(0, "")


async def test_what_says_nothing_commits_nothing() -> None:
    role_only = ScriptedProvider([BEGIN, EMPTY, EMPTY, errors.Overloaded("busy")])
    good = ScriptedProvider(says("good"))
    bench = Bench([deployment(role_only)], [deployment(good, "b")], policy=quick())
    assert await bench.text() == "good"


@pytest.mark.parametrize(
    "content", [TextDelta(0, "a"), ToolCallDelta(0, "c", "f"), ReasoningDelta(0, "hm")]
)
async def test_the_first_content_commits(content) -> None:
    broken = ScriptedProvider([BEGIN, content, errors.Overloaded("busy")])
    other = ScriptedProvider(says("other"))
    bench = Bench([deployment(broken)], [deployment(other, "b")], policy=quick())
    with pytest.raises(errors.Overloaded):
        await bench.text()
    assert other.calls == []


async def test_a_flood_without_content_is_given_up_at_64_kilobytes() -> None:
    flood = ScriptedProvider([BEGIN, *[EMPTY] * 1000])
    good = ScriptedProvider(says("good"))
    bench = Bench([deployment(flood)], [deployment(good, "b")], policy=quick())
    assert await bench.text() == "good"
    error = bench.notes.attempts[0].error
    assert isinstance(error, errors.UpstreamProtocol)
    assert "without content" in error.message


async def test_signs_of_life_without_content_do_not_help_a_silent_stream() -> None:
    pings = [step for _ in range(100) for step in (EMPTY, 0.02)]
    provider = ScriptedProvider([BEGIN, TextDelta(0, "a"), *pings, END])
    bench = Bench([deployment(provider)], policy=quick(idle_s=0.1))
    with pytest.raises(errors.UpstreamTimeout, match="silent"):
        await bench.text()


def paced(per_item: str, gap_s: float, least_per_s: float | None = None) -> tuple[str | None, str]:
    """How a stream of two seconds ends where time is what its gaps say, and what came of it."""

    async def main() -> tuple[str | None, str]:
        steps = [step for _ in range(int(2 / gap_s)) for step in (TextDelta(0, per_item), gap_s)]
        provider = ScriptedProvider([BEGIN, *steps, END])
        policy = quick(idle_s=0.2, min_tokens_per_s=least_per_s)
        bench = Bench([deployment(provider)], policy=policy)
        try:
            told = await bench.text()
        except errors.UpstreamTimeout as error:
            told = error.message
        return bench.notes.ended[0].outcome, told

    return virtual.run(main())


def test_content_keeps_a_slow_stream_alive() -> None:
    assert paced("a", 0.15) == ("ok", "a" * 13)


def test_a_trickle_below_the_least_pace_is_given_up() -> None:
    outcome, told = paced("a", 0.02, least_per_s=500)
    assert outcome == "error"
    assert "too slowly" in told


def test_a_stream_at_the_least_pace_goes_on() -> None:
    assert paced("a" * 40, 0.01, least_per_s=20) == ("ok", "a" * 40 * 200)


def test_the_pace_is_that_of_the_last_window() -> None:
    pace = Pace(10, 4.0)
    for second in range(10):
        pace.note(12, float(second))
    pace.note(1, 10.5)
    with pytest.raises(errors.UpstreamTimeout):
        pace.note(1, 12.5)


def test_what_an_item_weighs_and_is_worth() -> None:
    assert [tokens(i) for i in (BEGIN, EMPTY, TextDelta(0, "ab"), TextDelta(0, "a" * 40))] == [
        0,
        0,
        1,
        10,
    ]
    assert tokens(NativeChunk(b"x" * 900, content=True, pieces=3)) == 3
    assert tokens(NativeChunk(b"x", content=True)) == 1
    assert tokens(ToolCallDelta(0, arguments="a" * 40)) == 10
    assert size(NativeChunk(b"x" * 900)) > 900
    assert size(BEGIN) == size(END)


async def test_a_held_back_answer_is_rescued_after_a_cut() -> None:
    cut = ScriptedProvider([BEGIN, TextDelta(0, "lost"), errors.UpstreamUnavailable("reset")])
    good = ScriptedProvider(says("kept", " whole"))
    policy = quick(hold_back=True)
    bench = Bench([deployment(cut)], [deployment(good, "b")], policy=policy)
    assert await bench.text() == "kept whole"
    assert [request.stream for request in cut.calls + good.calls] == [True, True]
    assert bench.notes.ended[0].outcome == "ok"
    assert (cut.closed, good.closed) == (1, 1)


@pytest.mark.parametrize("rest", [[5.0, END], [], [ValueError("bug"), END], [EMPTY, 0.15] * 9])
async def test_a_held_back_answer_is_rescued_from_any_fault(rest: list) -> None:
    bad = ScriptedProvider([BEGIN, TextDelta(0, "lost"), *rest])
    good = ScriptedProvider(says("kept"))
    policy = quick(hold_back=True, idle_s=0.2)
    bench = Bench([deployment(bad)], [deployment(good, "b")], policy=policy)
    assert await bench.text() == "kept"


async def test_a_held_back_answer_without_content_is_tried_elsewhere() -> None:
    empty = ScriptedProvider([BEGIN])
    bench = Bench(
        [deployment(empty)],
        [deployment(ScriptedProvider(says("kept")), "b")],
        policy=quick(hold_back=True),
    )
    assert await bench.text() == "kept"
    assert isinstance(bench.notes.attempts[0].error, errors.EmptyAnswer)


async def test_what_is_held_back_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("hamlet.gateway.stream._MOST_HELD", 10_000)
    long = ScriptedProvider([BEGIN, *[TextDelta(0, "x" * 1000)] * 20, END])
    bench = Bench([deployment(long)], policy=quick(hold_back=True, attempts=1))
    with pytest.raises(errors.UpstreamProtocol, match="over 10000 bytes"):
        await bench.text()
    assert long.closed == 1


async def test_the_fast_lane_can_be_held_back_too() -> None:
    chunks = [
        NativeChunk(b"a", content=True, model="m-1", pieces=1),
        NativeChunk(b"b", finish=FinishReason.STOP, usage=Usage(1, 1), end=True),
    ]
    cut, good = ScriptedNative(chunks[:1]), ScriptedNative(chunks)
    policy = quick(hold_back=True)
    bench = Bench([deployment(cut)], [deployment(good, "b")], policy=policy)
    stream = await bench.open(dialect="openai", fields={"model": b'"r"'})
    assert b"".join([chunk.data async for chunk in stream]) == b"ab"
    await stream.aclose()
    assert stream.model == "m-1"


async def test_a_callers_leaving_ends_what_is_held_back() -> None:
    provider = ScriptedProvider([BEGIN, TextDelta(0, "a"), asyncio.Event()])
    bench = Bench([deployment(provider)], policy=quick(hold_back=True))
    call = asyncio.ensure_future(bench.text())
    while not provider.calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (provider.closed, bench.admission.in_flight) == (1, 0)


async def test_the_routes_terms_reach_the_adapter() -> None:
    provider = ScriptedProvider(says("a"))
    native = ScriptedNative([NativeChunk(b"a", content=True, end=True)])
    policy = quick(byte_idle_s=7.0, require_filter=True)
    bench = Bench([deployment(provider)], policy=policy)
    await bench.text()
    other = Bench([deployment(native)], policy=policy)
    await (await other.open(dialect="openai", fields={"model": b'"r"'})).aclose()
    for request in (provider.calls[0], native.calls[0]):
        assert (request.terms.byte_idle_s, request.terms.require_filter) == (7.0, True)


async def test_a_stream_does_not_keep_what_was_asked() -> None:
    provider = ScriptedProvider([BEGIN, TextDelta(0, "a"), asyncio.Event()])
    bench, request = Bench([deployment(provider)]), ask("hi", "r", stream=True)

    def build() -> ChatRequest:
        return request

    asked = weakref.ref(build)
    stream = await bench.open(build=build)
    del build
    gc.collect()
    assert asked() is None
    await stream.aclose()
