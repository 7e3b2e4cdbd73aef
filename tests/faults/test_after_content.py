"""What fails after the first content ends in an error event, and nobody else's words follow.

Rows of the fault matrix: 10-14 and 16 after the commit.
"""

import itertools

import pytest
import pytest_asyncio

from hamlet.testing import Canned, Wire, sse_reply
from support.stage import LANES, Fault, Told, failing, route, said

pytestmark = pytest.mark.asyncio(loop_scope="module")
SSE = {"content-type": "text/event-stream"}


def begun(wire: Wire) -> list[bytes]:
    """The frames of the good answer up to some of its content."""
    frames = said(wire)
    return frames[: next(i for i, f in enumerate(frames) if b"well" in f)]


def trickle(wire: Wire) -> Canned:
    piece = begun(wire)[-1].replace("안녕하세요".encode(), b".")
    return Canned(200, SSE, itertools.chain(begun(wire), itertools.repeat(piece)), pause_s=0.02)


FAULTS = {
    "silence": Fault(lambda w: sse_reply(begun(w), end="hang")),
    "comments only": Fault(lambda w: sse_reply([*begun(w), *[b": hi\n\n"] * 200], pause_s=0.02)),
    "pings only": Fault(lambda w: sse_reply([*begun(w), *[w.keepalive()] * 200], pause_s=0.02)),
    "a cut": Fault(lambda w: sse_reply(begun(w), end="truncate")),
    "a clean end": Fault(lambda w: sse_reply(begun(w))),
    "a reset": Fault(lambda w: sse_reply(begun(w), end="reset")),
    "half a chunk": Fault(lambda w: sse_reply([*begun(w), b'data: {"choices":[{"del\n\n'])),
    "half a chunk at the end": Fault(lambda w: sse_reply([*begun(w), b'data: {"type":"conte'])),
    "a chunk that is none": Fault(lambda w: sse_reply([*begun(w), b"data: 3\n\n"])),
    "bad utf-8": Fault(lambda w: sse_reply([*begun(w), b'data: {"x":"\xff"}\n\n'])),
    "event of 5 MB": Fault(lambda w: sse_reply([*begun(w), b"data: " + b"x" * (5 << 20)])),
    "an endless line": Fault(
        lambda w: Canned(200, SSE, itertools.chain(begun(w), itertools.repeat(b"x" * 65536)))
    ),
    "an error event": Fault(lambda w: sse_reply([*begun(w), w.stream_error()])),
    "too slow a pace": Fault(trickle, policy={"min_tokens_per_s": 1000}),
    "too long": Fault(trickle, policy={"total_s": 0.8}),
}
CLASSES = {
    "silence": "upstream_timeout",
    "a cut": "upstream_unavailable",
    "a clean end": "upstream_protocol",
    "a reset": "upstream_unavailable",
    "half a chunk": "upstream_protocol",
    "an error event": "overloaded",
    "too slow a pace": "upstream_timeout",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage():
    async with failing(FAULTS) as stage:
        yield stage


def assert_interrupted(told: Told, ours: str) -> None:
    """An error in the caller's dialect is the last that is told."""
    assert told.status == 200
    assert told.error is not None, told.body[-300:]
    assert told.error["code"] == "stream_interrupted"
    assert not told.ended_well
    last = told.frames[-1]
    assert last["error"] == told.error
    if ours == "openai":
        assert told.error["type"] == "upstream_error"
        assert told.error["request_id"] == told.id
    else:
        assert last["type"] == "error"
        assert b"event: error\n" in told.body
        assert told.error["type"] in ("api_error", "overloaded_error")
        assert last["request_id"] == told.id


# What ends by a time limit is the same code for every dialect: two lanes will do.
SLOW = {"silence", "comments only", "pings only", "too slow a pace", "too long"}
CASES = [
    (lane, name)
    for name, lane in itertools.product(FAULTS, LANES)
    if name not in SLOW or lane[0] == lane[1]
]


@pytest.mark.parametrize(("lane", "name"), CASES)
async def test_an_answer_that_breaks_off_says_so(stage, lane: tuple[str, str], name: str) -> None:
    asked = len(stage.good.requests)
    told = await stage.ask(route(lane, name, True), lane[0])
    assert_interrupted(told, lane[0])
    assert told.text
    assert told.text.startswith("안녕")
    assert len(stage.good.requests) == asked, "nobody else was asked"
    (call,) = stage.calls(told.id)
    assert (call["outcome"], call["attempts"]) == ("error", 1)
    assert call["error"] == CLASSES.get(name, call["error"])
