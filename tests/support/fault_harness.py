"""A hamlet between failing and good upstreams, with a canary in every secret."""

import asyncio
import itertools
import json
import logging
import re
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from hamlet.core import Text, Usage
from hamlet.testing import Canned, LoopbackUpstream, Received, Wire, json_reply, sse_reply
from hamlet.testing.cases import chat_response
from support.loopback_vendor import wire_for
from support.server import RunningServer, environment, run_server, wait_until

UPSTREAM_KEY = "sk-canary-upstream-7d1f0c33"
CLIENT_KEY = "hk-canary-client-5b9e2a71"
PROMPT = "canary prompt: my neighbour's diary"
SECRETS = (UPSTREAM_KEY, CLIENT_KEY)
GOOD_ANSWER_TEXT = "안녕하세요, all is well. 東京 🌿"
USAGE = Usage(input_tokens=20, output_tokens=9)
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
# (the caller's wire format, the vendor's wire format)
DIALECT_PAIRS = [(ours, theirs) for ours in PATHS for theirs in PATHS]
RETRY_POLICY = {"attempts": 3, "first_token_s": 0.6, "idle_s": 0.6, "total_s": 8.0}

# Which transport providers use; None is hamlet's default. Tests that run over both set it.
TRANSPORT: str | None = None

WireResponder = Callable[[Wire], Canned]


@dataclass(frozen=True)
class UpstreamFault:
    """What the first upstream does for a stream, and for a whole response if `whole` is given."""

    stream: WireResponder | None = None
    non_streaming: WireResponder | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ReceivedResponse:
    """A response as a client sees it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    id: str

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The data of each event."""
        data = re.findall(rb"^data: (\{.*)$", self.body, re.MULTILINE)
        return [json.loads(piece) for piece in data]

    @property
    def text(self) -> str:
        """The model's text, in either dialect, from a whole response or from frames."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return _whole_text(json.loads(self.body))
        return "".join(map(_frame_text, self.frames))

    @property
    def error(self) -> dict[str, Any] | None:
        """The error, from the body or in-band."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return json.loads(self.body).get("error")
        errors = [frame["error"] for frame in self.frames if frame.get("error")]
        assert len(errors) <= 1
        return errors[0] if errors else None

    @property
    def is_complete(self) -> bool:
        """Whether the stream ended with its terminal event."""
        return b"[DONE]" in self.body or b"message_stop" in self.body


class RawConnection:
    """A connection on which a test sends arbitrary bytes."""

    def __init__(self, sock: socket.socket, harness: "FaultHarness") -> None:
        self.sock, self._harness = sock, harness
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def send_post(self, path: str, body: Mapping[str, Any], **headers: str) -> None:
        """Send a whole request."""
        content = json.dumps(body).encode()
        lines = {"host": "x", "authorization": f"Bearer {CLIENT_KEY}", **headers}
        lines["content-length"] = str(len(content))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)

    async def read(self, size: int = 65536, timeout_s: float = 60.0) -> bytes:
        """The next bytes; b"" at the end of the connection, also after a reset."""
        async with asyncio.timeout(timeout_s):
            try:
                data = await self._loop.sock_recv(self.sock, size)
            except ConnectionError:
                return b""
        self._harness.received.append(data)
        return data

    async def read_all(self, timeout_s: float = 60.0) -> bytes:
        """Everything up to the end of the connection."""
        parts = []
        while part := await self.read(timeout_s=timeout_s):
            parts.append(part)
        return b"".join(parts)

    def reset(self) -> None:
        """Reset the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def _whole_text(body: dict[str, Any]) -> str:
    if "choices" in body:
        return body["choices"][0]["message"]["content"] or ""
    return "".join(block.get("text", "") for block in body.get("content", ()))


def _frame_text(frame: dict[str, Any]) -> str:
    if frame.get("choices"):
        return frame["choices"][0]["delta"].get("content") or ""
    return (frame.get("delta") or {}).get("text", "")


class FaultHarness:
    """Calls hamlet, records all responses and output, and checks them at the end."""

    def __init__(self, running: RunningServer, http: httpx2.AsyncClient) -> None:
        self.running, self.http = running, http
        self.received: list[bytes] = []
        self.library_log: list[str] = []
        self._lines: list[dict[str, Any]] = []
        self._by_id: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        self._log_offset = 0
        self._ids = (f"req_stage_{n}" for n in itertools.count())

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log: one JSON object per line."""
        self._read_new_lines()
        return self._lines

    def _read_new_lines(self) -> None:
        stream = self.running.log
        stream.seek(self._log_offset)
        for line in stream.read().splitlines():
            entry = json.loads(line)
            self._lines.append(entry)
            self._by_id[entry.get("request_id")].append(entry)
        self._log_offset = stream.tell()

    def log_lines(self, id_: str, event: str) -> list[dict[str, Any]]:
        """The log events of this name for one call."""
        self._read_new_lines()
        return [line for line in self._by_id[id_] if line["event"] == event]

    def chat_body(self, model: str, *, stream: bool = True, **more: Any) -> dict[str, Any]:
        """The body that `chat` sends."""
        turns = [{"role": "user", "content": PROMPT}]
        return {"model": model, "max_tokens": 99, "stream": stream, "messages": turns, **more}

    async def chat(
        self, model: str, dialect: str = "openai", *, stream: bool = True, **more: Any
    ) -> ReceivedResponse:
        """A chat call."""
        body = self.chat_body(model, stream=stream, **more)
        id_ = next(self._ids)
        headers = {"x-request-id": id_, "authorization": f"Bearer {CLIENT_KEY}"}
        response = await self.http.post(PATHS[dialect], json=body, headers=headers)
        self.received.append(response.content + repr(response.headers.raw).encode())
        await self.wait_for_call_line(id_)
        return ReceivedResponse(response.status_code, response.headers, response.content, id_)

    @asynccontextmanager
    async def dial(self, receive_bytes: int | None = None) -> AsyncIterator["RawConnection"]:
        """A raw connection to hamlet, with a small receive buffer if requested."""
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        url = urlsplit(self.running.url)
        await asyncio.get_running_loop().sock_connect(sock, (url.hostname, url.port))
        raw = RawConnection(sock, self)
        try:
            yield raw
        finally:
            sock.close()

    async def wait_for_call_line(self, id_: str) -> None:
        """Wait for the one log line of a call."""
        await wait_until(lambda: self.call_lines(id_))
        assert len(self.call_lines(id_)) == 1

    def call_lines(self, id_: str) -> list[dict[str, Any]]:
        """The log events of finished calls."""
        return self.log_lines(id_, "call")

    def failed_attempts(self, id_: str) -> list[str]:
        """The error classes of a call's failed attempts."""
        return [line["error"] for line in self.log_lines(id_, "attempt.failed")]

    async def metrics(self) -> str:
        """The metrics in text format."""
        return (await self.http.get("/metrics")).text

    async def check_invariants(self) -> None:
        """Check the invariants: nothing in flight, no traceback, no secret in any output."""
        metrics = await self.metrics()
        assert "hamlet_calls_in_flight 0.0" in metrics
        printed = self.running.log.getvalue() + metrics + "".join(self.library_log)
        for secret in (*SECRETS, PROMPT):
            assert secret not in printed, secret
        answered = b"".join(self.received)
        for secret in (*SECRETS, "Traceback"):
            assert secret.encode() not in answered, secret
        assert "request.failed" not in printed
        assert "Traceback" not in printed
        classes = {line["error"] for line in self.log if line["event"] == "attempt.failed"}
        for name in classes:
            assert f'result="{name}"' in metrics, "every class is counted"


class _LogCapture(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record) + "\n")


@asynccontextmanager
async def fault_harness(config: Mapping[str, Any]) -> AsyncIterator[FaultHarness]:
    """Serve a configuration and check the invariants at the end."""
    keys = [{"name": "stage", "secret": "env:STAGE_CLIENT_KEY"}]
    complete = {"keys": keys, **config}
    secrets = {"STAGE_UPSTREAM_KEY": UPSTREAM_KEY, "STAGE_CLIENT_KEY": CLIENT_KEY}
    async with environment(secrets), run_server(json.dumps(complete)) as running:
        async with httpx2.AsyncClient(base_url=running.url, timeout=30) as http:
            stage = FaultHarness(running, http)
            handler = _LogCapture(stage.library_log)
            logging.getLogger().addHandler(handler)
            try:
                yield stage
                await stage.check_invariants()
            finally:
                logging.getLogger().removeHandler(handler)


def provider(kind: str, url: str, **more: Any) -> dict[str, Any]:
    """A provider entry for a loopback vendor."""
    base = url if kind == "anthropic" else f"{url}/v1"
    row = {"kind": kind, "base_url": base, "api_key": "env:STAGE_UPSTREAM_KEY"}
    return row | ({"transport": TRANSPORT} if TRANSPORT else {}) | more


def answer_frames(wire: Wire) -> list[bytes]:
    """The frames of the good response."""
    return wire.frames(chat_response(Text(GOOD_ANSWER_TEXT), usage=USAGE), pieces=4)


def respond_ok(request: Received) -> Canned:
    """A successful response."""
    wire = wire_for(request)
    if request.json.get("stream"):
        return sse_reply(answer_frames(wire))
    return json_reply(wire.whole(chat_response(Text(GOOD_ANSWER_TEXT), usage=USAGE)))


def route_name(dialects: tuple[str, str], fault: str, stream: bool) -> str:
    """The name of the route of one lane with one fault."""
    return f"{'-'.join(dialects)}/{fault}/{'stream' if stream else 'whole'}"


@asynccontextmanager
async def failover_harness(
    faults: Mapping[str, UpstreamFault], **server: Any
) -> AsyncIterator[FaultHarness]:
    """A harness with routes for each fault: the failing upstream first, then a working one.

    Each route has a model of its own, so that faults do not share a deployment's health.
    """

    def respond_with_fault(request: Received) -> Canned:
        fault = faults[request.json["model"].split("/")[1]]
        responder = fault.stream if request.json.get("stream") else fault.non_streaming
        assert responder is not None, "this fault is not for such a call"
        return responder(wire_for(request))

    async with LoopbackUpstream() as bad, LoopbackUpstream() as good:
        bad.respond(respond_with_fault)
        good.respond(respond_ok)
        config = {
            "server": server,
            "providers": {
                f"{name}-{kind}": provider(kind, upstream.url)
                for name, upstream in (("bad", bad), ("good", good))
                for kind in PATHS
            },
            "routes": {
                (model := route_name(lane, name, stream)): {
                    "tiers": [
                        [{"provider": f"bad-{lane[1]}", "model": model}],
                        [{"provider": f"good-{lane[1]}", "model": model}],
                    ],
                    "policy": {**RETRY_POLICY, **fault.policy},
                }
                for lane in DIALECT_PAIRS
                for name, fault in faults.items()
                for stream in (True, False)
            },
        }
        async with fault_harness(config) as stage:
            stage.bad, stage.good = bad, good  # type: ignore[attr-defined]
            yield stage
