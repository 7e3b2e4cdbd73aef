"""A hamlet between upstreams that fail and others that do not, with canaries in every secret."""

import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from hamlet.core import Text, Usage
from hamlet.testing import Canned, LoopbackUpstream, Received, Wire, json_reply, sse_reply
from hamlet.testing.cases import answer
from support.server import Running, environment, serving, until
from support.vendor import wire_of

UPSTREAM_KEY = "sk-canary-upstream-7d1f0c33"
CLIENT_KEY = "hk-canary-client-5b9e2a71"
PROMPT = "canary prompt: my neighbour's diary"
SECRETS = (UPSTREAM_KEY, CLIENT_KEY)
SAID = "안녕하세요, all is well. 東京 🌿"
USAGE = Usage(input_tokens=20, output_tokens=9)
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
# (what the caller speaks, what the vendor speaks)
LANES = [(ours, theirs) for ours in PATHS for theirs in PATHS]
OFTEN = {"attempts": 3, "first_token_s": 0.6, "idle_s": 0.6, "total_s": 8.0}

Play = Callable[[Wire], Canned]


@dataclass(frozen=True)
class Fault:
    """What the first upstream does for a stream; for a whole answer too, if `whole` is given."""

    stream: Play | None = None
    whole: Play | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Told:
    """An answer as a client sees it."""

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
        """What the model said, in either dialect, whole or in frames."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return _whole_text(json.loads(self.body))
        return "".join(map(_frame_text, self.frames))

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that was told, whole or in-band."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return json.loads(self.body).get("error")
        errors = [frame["error"] for frame in self.frames if frame.get("error")]
        assert len(errors) <= 1
        return errors[0] if errors else None

    @property
    def ended_well(self) -> bool:
        """Whether the stream said that it is whole."""
        return b"[DONE]" in self.body or b"message_stop" in self.body


def _whole_text(body: dict[str, Any]) -> str:
    if "choices" in body:
        return body["choices"][0]["message"]["content"] or ""
    return "".join(block.get("text", "") for block in body.get("content", ()))


def _frame_text(frame: dict[str, Any]) -> str:
    if frame.get("choices"):
        return frame["choices"][0]["delta"].get("content") or ""
    return (frame.get("delta") or {}).get("text", "")


class Stage:
    """Asks hamlet, keeps everything it answered and printed, and looks through it at the end."""

    def __init__(self, running: Running, http: httpx2.AsyncClient) -> None:
        self.running, self.http = running, http
        self.heard: list[bytes] = []
        self.library: list[str] = []
        self._ids = (f"req_stage_{n}" for n in itertools.count())

    @property
    def log(self) -> list[dict[str, Any]]:
        """What hamlet logged."""
        return [json.loads(line) for line in self.running.log.getvalue().splitlines()]

    async def ask(
        self, model: str, dialect: str = "openai", *, stream: bool = True, **more: Any
    ) -> Told:
        """A chat call."""
        turns = [{"role": "user", "content": PROMPT}]
        body = {"model": model, "max_tokens": 99, "stream": stream, "messages": turns, **more}
        id_ = next(self._ids)
        headers = {"x-request-id": id_, "authorization": f"Bearer {CLIENT_KEY}"}
        response = await self.http.post(PATHS[dialect], json=body, headers=headers)
        self.heard.append(response.content + repr(response.headers.raw).encode())
        told = Told(response.status_code, response.headers, response.content, id_)
        await self.settled(id_)
        return told

    async def settled(self, id_: str) -> None:
        """Wait for the one log line of a call."""
        await until(lambda: self.calls(id_))
        assert len(self.calls(id_)) == 1

    def calls(self, id_: str) -> list[dict[str, Any]]:
        """The lines that tell of a call's end."""
        mine = [line for line in self.log if line.get("request_id") == id_]
        return [line for line in mine if line["event"] == "call"]

    def attempts(self, id_: str) -> list[str]:
        """The classes of a call's failed attempts."""
        mine = [line for line in self.log if line.get("request_id") == id_]
        return [line["error"] for line in mine if line["event"] == "attempt.failed"]

    async def metrics(self) -> str:
        """The exposition text."""
        return (await self.http.get("/metrics")).text

    async def check(self) -> None:
        """What always holds: nothing in flight, no traceback, no secret anywhere."""
        metrics = await self.metrics()
        assert "hamlet_calls_in_flight 0.0" in metrics
        printed = self.running.log.getvalue() + metrics + "".join(self.library)
        for secret in (*SECRETS, PROMPT):
            assert secret not in printed, secret
        answered = b"".join(self.heard)
        for secret in (*SECRETS, "Traceback"):
            assert secret.encode() not in answered, secret
        assert "request.failed" not in printed
        assert "Traceback" not in printed
        classes = {line["error"] for line in self.log if line["event"] == "attempt.failed"}
        for name in classes:
            assert f'outcome="{name}"' in metrics, "every class is counted"


class _Library(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.INFO)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(self.format(record) + "\n")


@asynccontextmanager
async def staging(config: Mapping[str, Any]) -> AsyncIterator[Stage]:
    """Serve a configuration and check at the end what always holds."""
    keys = [{"name": "stage", "secret": "env:STAGE_CLIENT_KEY"}]
    whole = {"keys": keys, **config}
    secrets = {"STAGE_UPSTREAM_KEY": UPSTREAM_KEY, "STAGE_CLIENT_KEY": CLIENT_KEY}
    async with environment(secrets), serving(json.dumps(whole)) as running:
        async with httpx2.AsyncClient(base_url=running.url, timeout=30) as http:
            stage = Stage(running, http)
            handler = _Library(stage.library)
            logging.getLogger().addHandler(handler)
            try:
                yield stage
                await stage.check()
            finally:
                logging.getLogger().removeHandler(handler)


def provider(kind: str, url: str, **more: Any) -> dict[str, Any]:
    """A provider row for a loopback vendor."""
    base = url if kind == "anthropic" else f"{url}/v1"
    return {"kind": kind, "base_url": base, "api_key": "env:STAGE_UPSTREAM_KEY", **more}


def said(wire: Wire) -> list[bytes]:
    """The frames of the good answer."""
    return wire.frames(answer(Text(SAID), usage=USAGE), pieces=4)


def well(request: Received) -> Canned:
    """The upstream that does not fail."""
    wire = wire_of(request)
    if request.json.get("stream"):
        return sse_reply(said(wire))
    return json_reply(wire.whole(answer(Text(SAID), usage=USAGE)))


def route(lane: tuple[str, str], fault: str, stream: bool) -> str:
    """The route by which a lane meets a fault."""
    return f"{'-'.join(lane)}/{fault}/{'stream' if stream else 'whole'}"


@asynccontextmanager
async def failing(faults: Mapping[str, Fault], **server: Any) -> AsyncIterator[Stage]:
    """A stage with routes for each fault: the failing upstream first, then a good one.

    Each route asks for a model of its own, so that faults do not share a deployment's health.
    """

    def fail(request: Received) -> Canned:
        fault = faults[request.json["model"].split("/")[1]]
        play = fault.stream if request.json.get("stream") else fault.whole
        assert play is not None, "this fault is not for such a call"
        return play(wire_of(request))

    async with LoopbackUpstream() as bad, LoopbackUpstream() as good:
        bad.respond(fail)
        good.respond(well)
        config = {
            "server": server,
            "providers": {
                f"{name}-{kind}": provider(kind, upstream.url)
                for name, upstream in (("bad", bad), ("good", good))
                for kind in PATHS
            },
            "routes": {
                (model := route(lane, name, stream)): {
                    "tiers": [
                        [{"provider": f"bad-{lane[1]}", "model": model}],
                        [{"provider": f"good-{lane[1]}", "model": model}],
                    ],
                    "policy": {**OFTEN, **fault.policy},
                }
                for lane in LANES
                for name, fault in faults.items()
                for stream in (True, False)
            },
        }
        async with staging(config) as stage:
            stage.bad, stage.good = bad, good  # type: ignore[attr-defined]
            yield stage
