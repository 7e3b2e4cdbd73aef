"""Slow clients are disconnected when they stop reading, and do not delay other clients."""

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply
from support.fault_harness import (
    GOOD_ANSWER_TEXT,
    PATHS,
    FaultHarness,
    RawConnection,
    answer_frames,
    fault_harness,
    provider,
    respond_ok,
)
from support.loopback_vendor import wire_for
from support.server import wait_until

CLIENT_COUNT = 40


def unbounded_stream(request: Received) -> Canned:
    """An endless stream, as fast as it is read."""
    frames = answer_frames(wire_for(request))
    again = itertools.repeat(frames[2] * 20)
    return Canned(200, {"content-type": "text/event-stream"}, itertools.chain(frames[:2], again))


def harness_config(upstream: LoopbackUpstream, good: LoopbackUpstream, **server: float) -> dict:
    rows = {kind: provider(kind, upstream.url) for kind in PATHS}
    rows["good"] = provider("openai", good.url)
    routes = {kind: {"deployments": [{"provider": kind, "model": "m"}]} for kind in PATHS}
    routes["good"] = {"deployments": [{"provider": "good", "model": "m"}]}
    return {"server": server, "providers": rows, "routes": routes}


async def open_stalled_reader(
    stage: FaultHarness, stack: AsyncExitStack, model: str, dialect: str, n: int
) -> RawConnection:
    raw = await stack.enter_async_context(stage.dial(receive_bytes=4096))
    id_ = {"x-request-id": f"req_deaf_{n}"}
    await raw.send_post(PATHS[dialect], stage.chat_body(model), **id_)
    return raw


async def test_stalled_reader_times_out_and_cancels_upstream() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        upstream.respond(unbounded_stream)
        good.respond(respond_ok)
        made = harness_config(upstream, good, reader_stall_s=0.8, keepalive_s=0.1)
        async with fault_harness(made) as stage, AsyncExitStack() as stack:
            pairs = itertools.cycle(itertools.product(PATHS, PATHS))
            clients = [
                await open_stalled_reader(stage, stack, *next(pairs), n)
                for n in range(CLIENT_COUNT)
            ]
            await upstream.received(CLIENT_COUNT)
            assert (await stage.chat("good")).text == GOOD_ANSWER_TEXT, (
                "the others are served meanwhile"
            )
            await asyncio.gather(
                *(stage.wait_for_call_line(f"req_deaf_{n}") for n in range(CLIENT_COUNT))
            )
            outcomes = {
                stage.call_lines(f"req_deaf_{n}")[0]["outcome"] for n in range(CLIENT_COUNT)
            }
            assert outcomes == {"cancelled"}
            await upstream.hung_up(CLIENT_COUNT)
            for raw in clients:
                tail = (await raw.read_all())[-400:]
                assert b"[DONE]" not in tail
                assert b"0\r\n\r\n" not in tail, "a cut answer does not look like a whole one"


async def test_slow_but_progressing_reader_stays_connected() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        upstream.respond(unbounded_stream)
        good.respond(respond_ok)
        async with fault_harness(harness_config(upstream, good, reader_stall_s=0.4)) as stage:
            async with AsyncExitStack() as stack:
                raw = await open_stalled_reader(stage, stack, "openai", "openai", 0)
                for _ in range(24):
                    assert await raw.read(16384)
                    await asyncio.sleep(0.05)
            await stage.wait_for_call_line("req_deaf_0")


async def test_unread_non_streaming_response_times_out() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        words = b"x" * (9 << 20)
        big = b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}]}' % words
        upstream.reply(json_reply(big))
        made = harness_config(upstream, good, reader_stall_s=0.5)
        async with fault_harness(made) as stage, stage.dial(receive_bytes=4096) as raw:
            body = stage.chat_body("openai", stream=False)
            await raw.send_post("/v1/chat/completions", body, **{"x-request-id": "req_big"})
            await stage.wait_for_call_line("req_big")
            await asyncio.sleep(1.5)
            got = await raw.read_all()
            assert len(got) < len(big), "the connection was cut with the rest unsent"


SLOW = {
    "nothing": b"",
    "half a head": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
}


@pytest.mark.parametrize("kind", SLOW)
async def test_incomplete_request_times_out(kind: str) -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        good.respond(respond_ok)
        made = harness_config(upstream, good, request_head_s=0.8, request_body_s=0.8)
        async with fault_harness(made) as stage, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(stage.dial()) for _ in range(CLIENT_COUNT)]

            async def drip(raw: RawConnection) -> bytes:
                await raw.send(SLOW[kind])
                for _ in range(4):
                    await asyncio.sleep(0.1)
                    if SLOW[kind]:
                        await raw.send(b" " if "body" in kind else b"x: y\r\n")
                return await raw.read_all()

            dripping = [asyncio.ensure_future(drip(raw)) for raw in clients]
            assert (await stage.chat("good")).text == GOOD_ANSWER_TEXT
            for responses in await asyncio.gather(*dripping):
                assert responses.startswith(b"HTTP/1.1 408 ") if SLOW[kind] else responses == b""


async def test_keep_alive_connection_may_idle_between_requests() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        async with fault_harness(harness_config(upstream, good, request_head_s=0.3)) as stage:
            async with stage.dial() as raw:
                for _ in range(2):
                    await raw.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                    assert b"200 OK" in await raw.read()
                    await asyncio.sleep(0.5)
                await raw.send(b"GET /livez HTTP/1.1\r\n")
                assert (await raw.read_all()).startswith(b"HTTP/1.1 408 ")
            await wait_until(lambda: stage.running.hamlet.gateway.admission.in_flight == 0)
