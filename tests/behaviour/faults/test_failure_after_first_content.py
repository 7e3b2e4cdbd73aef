"""A stream that fails after its first content ends with an error event, and is never continued."""

import itertools

import pytest
import pytest_asyncio

from hamlet.testing import Canned, Wire, sse_reply
from support.fault_harness import (
    DIALECT_PAIRS,
    ReceivedResponse,
    UpstreamFault,
    answer_frames,
    failover_harness,
    route_name,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
SSE = {"content-type": "text/event-stream"}


def frames_up_to_content(wire: Wire) -> list[bytes]:
    """The frames of the good response up to some of its content."""
    frames = answer_frames(wire)
    return frames[: next(i for i, f in enumerate(frames) if b"well" in f)]


def slow_trickle(wire: Wire) -> Canned:
    piece = frames_up_to_content(wire)[-1].replace("안녕하세요".encode(), b".")
    return Canned(
        200, SSE, itertools.chain(frames_up_to_content(wire), itertools.repeat(piece)), pause_s=0.02
    )


FAULTS = {
    "silence": UpstreamFault(lambda w: sse_reply(frames_up_to_content(w), end="hang")),
    "comments only": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), *[b": hi\n\n"] * 200], pause_s=0.02)
    ),
    "pings only": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), *[w.keepalive()] * 200], pause_s=0.02)
    ),
    "a cut": UpstreamFault(lambda w: sse_reply(frames_up_to_content(w), end="truncate")),
    "a clean end": UpstreamFault(lambda w: sse_reply(frames_up_to_content(w))),
    "a reset": UpstreamFault(lambda w: sse_reply(frames_up_to_content(w), end="reset")),
    "half a chunk": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), b'data: {"choices":[{"del\n\n'])
    ),
    "half a chunk at the end": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), b'data: {"type":"conte'])
    ),
    "a chunk that is none": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), b"data: 3\n\n"])
    ),
    "bad utf-8": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), b'data: {"x":"\xff"}\n\n'])
    ),
    "event of 5 MB": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), b"data: " + b"x" * (5 << 20)])
    ),
    "an endless line": UpstreamFault(
        lambda w: Canned(
            200, SSE, itertools.chain(frames_up_to_content(w), itertools.repeat(b"x" * 65536))
        )
    ),
    "an error event": UpstreamFault(
        lambda w: sse_reply([*frames_up_to_content(w), w.stream_error()])
    ),
    "too slow a pace": UpstreamFault(slow_trickle, policy={"min_tokens_per_s": 1000}),
    "too long": UpstreamFault(slow_trickle, policy={"total_s": 0.8}),
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
async def harness():
    async with failover_harness(FAULTS) as stage:
        yield stage


def assert_interrupted(response: ReceivedResponse, dialect: str) -> None:
    """The last event is an error in the caller's dialect."""
    assert response.status == 200
    assert response.error is not None, response.body[-300:]
    assert response.error["code"] == "stream_interrupted"
    assert not response.is_complete
    last = response.frames[-1]
    assert last["error"] == response.error
    if dialect == "openai":
        assert response.error["type"] == "upstream_error"
        assert response.error["request_id"] == response.id
    else:
        assert last["type"] == "error"
        assert b"event: error\n" in response.body
        assert response.error["type"] in ("api_error", "overloaded_error")
        assert last["request_id"] == response.id


# Timeouts are the same code for every dialect: two lanes suffice.
SLOW_FAULTS = {"silence", "comments only", "pings only", "too slow a pace", "too long"}
CASES = [
    (lane, name)
    for name, lane in itertools.product(FAULTS, DIALECT_PAIRS)
    if name not in SLOW_FAULTS or lane[0] == lane[1]
]


@pytest.mark.parametrize(("lane", "name"), CASES)
async def test_interrupted_stream_ends_with_error_event(
    harness, lane: tuple[str, str], name: str
) -> None:
    asked = len(harness.good.requests)
    response = await harness.chat(route_name(lane, name, True), lane[0])
    assert_interrupted(response, lane[0])
    assert response.text
    assert response.text.startswith("안녕")
    assert len(harness.good.requests) == asked, "nobody else was asked"
    (call,) = harness.call_lines(response.id)
    assert (call["outcome"], call["attempts"]) == ("error", 1)
    assert call["error"] == CLASSES.get(name, call["error"])
