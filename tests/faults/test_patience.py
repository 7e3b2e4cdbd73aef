"""Clients that are slow or deaf are cut off, and do not cost the others anything.

Rows of the fault matrix: 41, 42.
"""

import asyncio
import itertools
from contextlib import AsyncExitStack

import pytest

from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply
from support.server import until
from support.stage import PATHS, SAID, Raw, Stage, provider, said, staging, well
from support.vendor import wire_of

MANY = 40


def torrent(request: Received) -> Canned:
    """A stream without an end, as fast as it is read."""
    frames = said(wire_of(request))
    again = itertools.repeat(frames[2] * 20)
    return Canned(200, {"content-type": "text/event-stream"}, itertools.chain(frames[:2], again))


def config(upstream: LoopbackUpstream, good: LoopbackUpstream, **server: float) -> dict:
    rows = {kind: provider(kind, upstream.url) for kind in PATHS}
    rows["good"] = provider("openai", good.url)
    routes = {kind: {"deployments": [{"provider": kind, "model": "m"}]} for kind in PATHS}
    routes["good"] = {"deployments": [{"provider": "good", "model": "m"}]}
    return {"server": server, "providers": rows, "routes": routes}


async def deaf(stage: Stage, stack: AsyncExitStack, model: str, dialect: str, n: int) -> Raw:
    raw = await stack.enter_async_context(stage.dial(receive_bytes=4096))
    id_ = {"x-request-id": f"req_deaf_{n}"}
    await raw.post(PATHS[dialect], stage.body(model), **id_)
    return raw


async def test_readers_that_stall_are_cut_off_and_their_upstream_calls_ended() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        upstream.respond(torrent)
        good.respond(well)
        made = config(upstream, good, reader_stall_s=0.8, keepalive_s=0.1)
        async with staging(made) as stage, AsyncExitStack() as stack:
            pairs = itertools.cycle(itertools.product(PATHS, PATHS))
            clients = [await deaf(stage, stack, *next(pairs), n) for n in range(MANY)]
            await upstream.received(MANY)
            assert (await stage.ask("good")).text == SAID, "the others are served meanwhile"
            await asyncio.gather(*(stage.settled(f"req_deaf_{n}") for n in range(MANY)))
            outcomes = {stage.calls(f"req_deaf_{n}")[0]["outcome"] for n in range(MANY)}
            assert outcomes == {"cancelled"}
            await upstream.hung_up(MANY)
            for raw in clients:
                tail = (await raw.read_all())[-400:]
                assert b"[DONE]" not in tail
                assert b"0\r\n\r\n" not in tail, "a cut answer does not look like a whole one"


async def test_a_slow_reader_that_goes_on_reading_is_let_be() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        upstream.respond(torrent)
        good.respond(well)
        async with staging(config(upstream, good, reader_stall_s=0.4)) as stage:
            async with AsyncExitStack() as stack:
                raw = await deaf(stage, stack, "openai", "openai", 0)
                for _ in range(24):
                    assert await raw.read(16384)
                    await asyncio.sleep(0.05)
            await stage.settled("req_deaf_0")


async def test_a_whole_answer_that_nobody_fetches_does_not_stay() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        words = b"x" * (9 << 20)
        big = b'{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}]}' % words
        upstream.reply(json_reply(big))
        made = config(upstream, good, reader_stall_s=0.5)
        async with staging(made) as stage, stage.dial(receive_bytes=4096) as raw:
            body = stage.body("openai", stream=False)
            await raw.post("/v1/chat/completions", body, **{"x-request-id": "req_big"})
            await stage.settled("req_big")
            await asyncio.sleep(1.5)
            got = await raw.read_all()
            assert len(got) < len(big), "the connection was cut with the rest unsent"


SLOW = {
    "nothing": b"",
    "half a head": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
}


@pytest.mark.parametrize("kind", SLOW)
async def test_requests_that_never_arrive_are_given_up(kind: str) -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        good.respond(well)
        made = config(upstream, good, request_head_s=0.8, request_body_s=0.8)
        async with staging(made) as stage, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(stage.dial()) for _ in range(MANY)]

            async def drip(raw: Raw) -> bytes:
                await raw.send(SLOW[kind])
                for _ in range(4):
                    await asyncio.sleep(0.1)
                    if SLOW[kind]:
                        await raw.send(b" " if "body" in kind else b"x: y\r\n")
                return await raw.read_all()

            dripping = [asyncio.ensure_future(drip(raw)) for raw in clients]
            assert (await stage.ask("good")).text == SAID
            for told in await asyncio.gather(*dripping):
                assert told.startswith(b"HTTP/1.1 408 ") if SLOW[kind] else told == b""


async def test_a_kept_connection_may_take_its_time_between_requests() -> None:
    async with LoopbackUpstream() as upstream, LoopbackUpstream() as good:
        async with staging(config(upstream, good, request_head_s=0.3)) as stage:
            async with stage.dial() as raw:
                for _ in range(2):
                    await raw.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                    assert b"200 OK" in await raw.read()
                    await asyncio.sleep(0.5)
                await raw.send(b"GET /livez HTTP/1.1\r\n")
                assert (await raw.read_all()).startswith(b"HTTP/1.1 408 ")
            await until(lambda: stage.running.hamlet.gateway.admission.in_flight == 0)
