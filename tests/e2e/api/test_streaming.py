"""What a streaming client sees on the wire: keepalives, in-band errors, labels of metrics."""

import asyncio
import json
import random
import re
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest

from hamlet.core import Text
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import chat_response
from support.loopback_vendor import wire_for
from support.server import RunningServer, run_server

CONFIG = """
server: {{header_wait_s: 0.05, keepalive_s: 0.05}}
providers:
  openai: {{kind: openai, base_url: "{url}/v1"}}
  anthropic: {{kind: anthropic, base_url: "{url}"}}
routes:
  openai: {{deployments: [{{provider: openai, model: gpt-4o}}], policy: {{attempts: 1}}}}
  anthropic: {{deployments: [{{provider: anthropic, model: claude-sonnet-4-5}}], policy: {{attempts: 1}}}}
  strict: {{deployments: [{{provider: openai, model: gpt-5}}], policy: {{unsupported: reject}}}}
"""
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
KEEPALIVE = {"openai": ": keepalive", "anthropic": 'event: ping\ndata: {"type":"ping"}'}


@pytest.fixture
async def vendor() -> AsyncIterator[LoopbackUpstream]:
    async with LoopbackUpstream() as upstream:
        yield upstream


@pytest.fixture
async def running(vendor: LoopbackUpstream) -> AsyncIterator[RunningServer]:
    async with run_server(CONFIG.format(url=vendor.url)) as running:
        yield running


def chat_body(model: str, stream: bool = True, **more: object) -> dict:
    turns = [{"role": "user", "content": "hi"}]
    return {"model": model, "max_tokens": 9, "stream": stream, "messages": turns, **more}


async def fetch_frames(running: RunningServer, dialect: str, model: str) -> list[str]:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        response = await http.post(PATHS[dialect], json=chat_body(model))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    return [frame for frame in response.text.split("\n\n") if frame]


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", ["openai", "anthropic"])
async def test_keepalives_are_sent_while_upstream_is_silent(
    running: RunningServer, vendor: LoopbackUpstream, dialect: str, model: str
) -> None:
    def slow(request: Received) -> Canned:
        sent = wire_for(request).frames(chat_response(Text("Hello")), pieces=1)
        return sse_reply([b": wait\n\n", *sent], pause_s=0.12)

    vendor.respond(slow)
    seen = await fetch_frames(running, dialect, model)
    alive = KEEPALIVE[dialect]
    assert seen[0] == alive, "the status went out before there was content"
    content = next(i for i, frame in enumerate(seen) if "Hello" in frame)
    assert alive in seen[content:]
    data = [json.loads(f.split("data: ")[1]) for f in seen if f != alive and "[DONE]" not in f]
    if dialect == "openai":
        assert all("choices" in chunk or "error" in chunk for chunk in data)
        assert seen[-1] == "data: [DONE]"
    else:
        assert data[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("dialect", PATHS)
async def test_error_after_status_is_the_last_in_band_event(
    running: RunningServer, vendor: LoopbackUpstream, dialect: str
) -> None:
    gate = asyncio.Event()
    vendor.reply(Canned(503, {"content-type": "application/json"}, [b"{", b"}"], gate=gate))
    received = ""
    async with httpx2.AsyncClient(base_url=running.url) as http:
        async with http.stream("POST", PATHS[dialect], json=chat_body("openai")) as response:
            assert response.status_code == 200
            async for text in response.aiter_text():
                received += text
                # The status has been sent; now the upstream may fail.
                gate.set()
    seen = [frame for frame in received.split("\n\n") if frame]
    assert seen[0] == KEEPALIVE[dialect]
    body = json.loads(seen[-1].split("data: ")[1])
    assert body["error"]["code"] == "overloaded"
    assert "[DONE]" not in "".join(seen)


async def test_strict_mode_rejects_unsupported_parameters(
    running: RunningServer, vendor: LoopbackUpstream
) -> None:
    async with httpx2.AsyncClient(base_url=running.url) as http:
        response = await http.post(
            PATHS["openai"], json=chat_body("strict", False, temperature=0.5)
        )
    assert response.status_code == 400
    assert "temperature" in response.json()["error"]["message"]
    assert vendor.requests == []


async def test_metrics_carry_only_labels_from_the_closed_set(
    running: RunningServer, vendor: LoopbackUpstream
) -> None:
    vendor.respond(
        lambda request: json_reply(wire_for(request).error(random.choice([400, 429])), 429)
    )
    rng = random.Random(7)
    async with httpx2.AsyncClient(base_url=running.url) as http:
        for _ in range(30):
            name = rng.choice(["openai", "anthropic", "strict", f"odd-{rng.random()}"])
            path = rng.choice(list(PATHS.values()))
            await http.post(
                path, json=chat_body(name, rng.random() < 0.5, **{f"x{rng.random()}": 1})
            )
        text = (await http.get("/metrics")).text
    ours = "\n".join(line for line in text.splitlines() if line.startswith(("hamlet_", "gen_ai_")))
    labels = set(re.findall(r'(\w+)="', ours)) - {"le"}
    from hamlet.telemetry import labels as closed

    assert labels <= {v for n, v in vars(closed).items() if n.isupper() and isinstance(v, str)}
    assert "odd-" not in text
    assert 'route="unknown"' in text


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("model", ["openai", "anthropic"])
async def test_stream_releases_request_body(
    running: RunningServer, vendor: LoopbackUpstream, dialect: str, model: str
) -> None:
    rest, begun = asyncio.Event(), asyncio.Event()

    def respond_in_two_reads(request: Received) -> Canned:
        *said, end = wire_for(request).frames(chat_response(Text("Hello")), pieces=1)
        return sse_reply([b"".join(said), end], gate=rest)

    vendor.respond(respond_in_two_reads)
    prompt = json.dumps(chat_body(model)).encode()
    messages = [{"type": "http.request", "body": prompt, "more_body": False}]

    async def receive() -> dict:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message: dict) -> None:
        if b"Hello" in message.get("body", b""):
            begun.set()

    path = PATHS[dialect]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    alone = sys.getrefcount(prompt) - 1
    call = asyncio.ensure_future(running.hamlet(scope, receive, send))
    async with asyncio.timeout(30):
        await begun.wait()
    assert sys.getrefcount(prompt) == alone
    rest.set()
    await call
