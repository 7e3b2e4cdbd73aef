"""The model of one deployment: refuse with a status, or answer on a timeline."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hamlet.simulator.capacity import Refusal, bucket_of
from hamlet.simulator.faults import MID_STREAM, Fault, Schedule
from hamlet.simulator.frames import Said, frames_of
from hamlet.simulator.headers import quota_headers, refusal_headers
from hamlet.simulator.requests import Ask
from hamlet.simulator.scenario import JSON, End, Play, Step, reply
from hamlet.simulator.spec import PAYG_LATENCY, Simulated

_PING_EVERY_S = 5.0
_REFUSING_S = 0.005
_ENDS: dict[str, End] = {"stall": "hang", "cut": "cut", "reset": "reset"}
_MESSAGES = {
    401: "Access denied due to an invalid key.",
    404: "The API deployment for this resource does not exist.",
}
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    404: "DeploymentNotFound",
    429: "rate_limit_exceeded",
}


@dataclass(slots=True)
class Counters:
    """What a deployment saw. `prompt` and `output` are tokens, uncached ones included."""

    requests: int = 0
    refused: int = 0
    faulted: int = 0
    answered: int = 0
    broken_off: int = 0
    in_flight: int = 0
    prompt: int = 0
    output: int = 0
    spilled: int = 0


class Engine:
    """Decides for each request. All randomness comes from `rng`, all time from the caller."""

    def __init__(self, spec: Simulated, schedule: Schedule, rng: random.Random) -> None:
        self.spec = spec
        self.counters = Counters()
        self.bucket = bucket_of(spec.capacity)
        self._schedule = schedule
        self._rng = rng
        self._frames = frames_of(spec.wire)

    def answer(self, ask: Ask, now: float) -> Play:
        """The timeline of the answer to a chat request."""
        self.counters.requests += 1
        struck = self._schedule.strike(self.spec, now, self._rng)
        slow = math.prod(fault.factor for fault in struck if fault.kind == "slow")
        fault = next((f for f in struck if f.kind not in ("slow", "spillover")), None)
        if fault and (play := self._instead(fault, ask)):
            self.counters.faulted += 1
            return play
        admitted = self.bucket.admit(ask.cost, now)
        headers = quota_headers(self.spec, self.bucket, now)
        if isinstance(admitted, Refusal):
            if any(f.kind == "spillover" for f in struck):
                return self._spilled(ask, slow, now)
            self.counters.refused += 1
            return self._refused(admitted, headers)
        return self._admitted(ask, slow, fault, headers, admitted, now)

    def probe(self, now: float) -> Play:
        """The timeline of the answer to a request for the list of models."""
        for fault in self._schedule.strike(self.spec, now, self._rng):
            if play := self._instead(fault, None):
                return play
        listed = f'{{"object":"list","data":[{{"id":"{self.spec.model}","object":"model"}}]}}'
        return reply(200, listed.encode())

    def state(self, now: float) -> dict[str, Any]:
        """Counters and utilisation, for people and tests."""
        used = round(self.bucket.utilisation(now), 4)
        return {"kind": self.spec.kind, **asdict(self.counters), "utilisation": used}

    # -- what happens instead of an answer

    def _instead(self, fault: Fault, ask: Ask | None) -> Play | None:
        match fault.kind:
            case "dead":
                return Play(before="abort")
            case "refused":
                return Play(before="refuse")
            case "silent":
                return Play(before="hang")
            case "status":
                return self._status(fault)
            case "insufficient_quota":
                text = "You exceeded your current quota."
                return self._error(429, "insufficient_quota", text)
            case "html":
                return reply(200, b"<html><body>Sign in</body></html>", "text/html", _REFUSING_S)
            case "empty":
                kind = "text/event-stream" if ask and ask.stream else JSON
                return Play(200, {"content-type": kind}, [Step(_REFUSING_S, b"", 0)])
            case "content_filter" if fault.after == 0 or not (ask and ask.stream):
                return self._error(400, "content_filter", "The prompt was filtered.")
            case "overloaded" if not (ask and ask.stream):
                status, code = self._frames.overloaded
                return self._error(status, code, "Overloaded")
        return None

    def _status(self, fault: Fault) -> Play:
        play = self._error(
            fault.status,
            _CODES.get(fault.status, "server_error"),
            _MESSAGES.get(fault.status, "Simulated fault."),
        )
        told = {"retry-after": fault.retry_after, "retry-after-ms": fault.retry_after_ms}
        extra = {name: value for name, value in told.items() if value is not None}
        play.headers = {**play.headers, **extra}
        return play

    def _error(self, status: int, code: str, message: str) -> Play:
        return reply(status, self._frames.error(status, code, message), wait_s=_REFUSING_S)

    def _refused(self, refusal: Refusal, headers: dict[str, str]) -> Play:
        body = self._frames.error(
            429, "429" if self.spec.wire == "azure" else "rate_limit_exceeded",
            f"The {refusal.limit} limit of this deployment is reached.",
        )  # fmt: skip
        play = reply(429, body, wait_s=_REFUSING_S)
        play.headers = {**play.headers, **headers, **refusal_headers(self.spec, refusal)}
        return play

    # -- the answer

    def _spilled(self, ask: Ask, slow: float, now: float) -> Play:
        self.counters.spilled += 1
        headers = {
            "x-ms-region": self.spec.region,
            "x-ms-deployment-name": f"{self.spec.model}-spillover",
            "x-ms-spillover-from-deployment": self.spec.model,
            "x-ms-spillover-error": "429",
        }
        drawn = PAYG_LATENCY.slower(slow).draw(self._rng, ask.cost.prompt)
        return self._playing(ask, drawn, None, headers, lambda output, now: None, now)

    def _admitted(
        self,
        ask: Ask,
        slow: float,
        fault: Fault | None,
        headers: dict[str, str],
        settle: Callable[[int, float], None],
        now: float,
    ) -> Play:
        latency = self.spec.latency if slow == 1 else self.spec.latency.slower(slow)
        rng = self._rng if ask.seed is None else random.Random(ask.seed)
        drawn = latency.draw(rng, max(0, ask.cost.prompt - ask.cost.cached))
        return self._playing(ask, drawn, fault, headers, settle, now)

    def _playing(
        self,
        ask: Ask,
        drawn: tuple[float, float],
        fault: Fault | None,
        headers: dict[str, str],
        settle: Callable[[int, float], None],
        now: float,
    ) -> Play:
        said = self._said(ask)
        ttft, gap = drawn
        counters = self.counters
        counters.in_flight += 1
        counters.prompt += said.prompt

        def done(output: int, whole: bool, end: float) -> None:
            if not ask.stream and not whole:
                # Nobody saw a token of it, but the model had been writing since the first.
                output = min(said.output, max(0, int((end - now - ttft) / gap)))
            counters.in_flight -= 1
            counters.output += output
            counters.answered += whole and fault is None
            counters.broken_off += not whole
            settle(output, end)

        if fault:
            counters.faulted += 1
        steps = self._stream(said, ttft, gap, fault) if ask.stream else (
            self._body(said, ttft, gap, fault)
        )  # fmt: skip
        kind = "text/event-stream" if ask.stream else JSON
        headers = {"content-type": kind, **headers, "x-request-id": said.id}
        end = _ENDS.get(fault.kind, "whole") if fault else "whole"
        return Play(200, headers, steps, end=end, settle=done)

    def _said(self, ask: Ask) -> Said:
        output, cut = ask.output(self.spec.answer_tokens)
        id_ = f"sim-{self.spec.name}-{self.counters.requests}"
        cost = ask.cost
        cached = min(cost.cached, cost.prompt)
        return Said(id_, self.spec.model, cost.prompt, cached, output, cut, ask.tells_usage)

    def _stream(self, said: Said, ttft: float, gap: float, fault: Fault | None) -> Iterator[Step]:
        """The first token comes with the opening, the last with the end."""
        frames, sigma, gauss = self._frames, self.spec.latency.gap_sigma, self._rng.gauss
        content = frames.content(said)
        wait, data, tokens = ttft, frames.opening(said), 0
        left, count, size = said.output, 0, 1
        until = fault.after if fault else -1
        while left > 0 and count != until:
            size = min(left, size)
            data += content(size)
            tokens, left, count = size, left - size, count + 1
            if left > 0:
                yield Step(wait, data, tokens)
                size = self.spec.tokens_per_frame
                wait = gap * min(left, size) * math.exp(gauss(0.0, sigma))
                data, tokens = b"", 0
        if fault is None:
            yield Step(wait, data + frames.closing(said), tokens)
            return
        if data:
            yield Step(wait, data, tokens)
        yield from self._struck(fault, said, gap)

    def _struck(self, fault: Fault, said: Said, gap: float) -> Iterator[Step]:
        frames = self._frames
        match fault.kind:
            case "pings":
                while True:
                    yield Step(_PING_EVERY_S, frames.ping, 0)
            case "garbage":
                yield Step(gap, frames.garbage, 0)
            case "overloaded":
                error = frames.error(*frames.overloaded, "Overloaded")
                yield Step(gap, frames.event_of(error), 0)
            case "content_filter":
                yield Step(gap, frames.filtered(said), 0)

    def _body(self, said: Said, ttft: float, gap: float, fault: Fault | None) -> Iterator[Step]:
        """A whole answer in one step, or what a fault leaves of it."""
        body, wait = self._frames.whole(said), ttft + gap * said.output
        if fault is None or fault.kind not in MID_STREAM:
            yield Step(wait, body, said.output)
            return
        yield Step(wait, body[: len(body) // 2], said.output)
        while fault.kind == "pings":
            yield Step(_PING_EVERY_S, b" ", 0)
