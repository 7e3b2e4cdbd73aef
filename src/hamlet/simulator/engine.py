"""The model of one deployment: it refuses a request, or answers it on a timeline."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hamlet.simulator.admission_buckets import Refusal, bucket_for
from hamlet.simulator.faults import MID_STREAM, Fault, FaultSchedule
from hamlet.simulator.response_timeline import (
    JSON,
    BodyChunk,
    EndAction,
    ResponseTimeline,
    full_response,
)
from hamlet.simulator.simulated_request import SimulatedRequest
from hamlet.simulator.spec import PAYG_LATENCY, SimulatedDeployment
from hamlet.simulator.vendor_headers import quota_headers, refusal_headers
from hamlet.simulator.wire_frames import CompletionData, frames_for

_PING_EVERY_S = 5.0
_ERROR_DELAY_S = 0.005
_ENDS: dict[str, EndAction] = {"stall": "hang", "cut": "cut", "reset": "reset"}
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
    """What a deployment has done: numbers of requests; `prompt` and `output` are tokens.

    `prompt` includes cached tokens.
    """

    requests: int = 0
    refused: int = 0
    faulted: int = 0
    answered: int = 0
    broken_off: int = 0
    in_flight: int = 0
    prompt: int = 0
    output: int = 0
    spilled: int = 0


class DeploymentEngine:
    """Responds to each request. Randomness comes from `rng` only, time from the caller."""

    def __init__(
        self, spec: SimulatedDeployment, schedule: FaultSchedule, rng: random.Random
    ) -> None:
        self.spec = spec
        self.counters = Counters()
        self.bucket = bucket_for(spec.capacity)
        self._schedule = schedule
        self._rng = rng
        self._frames = frames_for(spec.wire)

    def respond(self, request: SimulatedRequest, now: float) -> ResponseTimeline:
        """The response to a chat request that arrives at `now` (seconds)."""
        self.counters.requests += 1
        faults = self._schedule.select(self.spec, now, self._rng)
        slowdown = math.prod(fault.factor for fault in faults if fault.kind == "slow")
        fault = next((f for f in faults if f.kind not in ("slow", "spillover")), None)
        if fault and (timeline := self._fault_response(fault, request)):
            self.counters.faulted += 1
            return timeline
        admitted = self.bucket.admit(request.tokens, now)
        headers = quota_headers(self.spec, self.bucket, now)
        if isinstance(admitted, Refusal):
            if any(f.kind == "spillover" for f in faults):
                return self._spillover_response(request, slowdown, now)
            self.counters.refused += 1
            return self._refusal_response(admitted, headers)
        return self._admitted_response(request, slowdown, fault, headers, admitted, now)

    def list_models(self, now: float) -> ResponseTimeline:
        """The response to a request for the list of models."""
        for fault in self._schedule.select(self.spec, now, self._rng):
            if timeline := self._fault_response(fault, None):
                return timeline
        listed = f'{{"object":"list","data":[{{"id":"{self.spec.model}","object":"model"}}]}}'
        return full_response(200, listed.encode())

    def state(self, now: float) -> dict[str, Any]:
        """Counters and utilisation, as plain data."""
        used = round(self.bucket.utilisation(now), 4)
        return {"kind": self.spec.kind, **asdict(self.counters), "utilisation": used}

    # -- faults and refusals

    def _fault_response(
        self, fault: Fault, request: SimulatedRequest | None
    ) -> ResponseTimeline | None:
        match fault.kind:
            case "dead":
                return ResponseTimeline(start_action="abort")
            case "refused":
                return ResponseTimeline(start_action="refuse")
            case "silent":
                return ResponseTimeline(start_action="hang")
            case "status":
                return self._status_fault(fault)
            case "insufficient_quota":
                text = "You exceeded your current quota."
                return self._error_response(429, "insufficient_quota", text)
            case "html":
                return full_response(
                    200, b"<html><body>Sign in</body></html>", "text/html", _ERROR_DELAY_S
                )
            case "empty":
                kind = "text/event-stream" if request and request.stream else JSON
                return ResponseTimeline(
                    200, {"content-type": kind}, [BodyChunk(_ERROR_DELAY_S, b"", 0)]
                )
            case "content_filter" if fault.after == 0 or not (request and request.stream):
                return self._error_response(400, "content_filter", "The prompt was filtered.")
            case "overloaded" if not (request and request.stream):
                status, code = self._frames.overload_error
                return self._error_response(status, code, "Overloaded")
        return None

    def _status_fault(self, fault: Fault) -> ResponseTimeline:
        timeline = self._error_response(
            fault.status,
            _CODES.get(fault.status, "server_error"),
            _MESSAGES.get(fault.status, "Simulated fault."),
        )
        wait_headers = {"retry-after": fault.retry_after, "retry-after-ms": fault.retry_after_ms}
        extra = {name: value for name, value in wait_headers.items() if value is not None}
        timeline.headers = {**timeline.headers, **extra}
        return timeline

    def _error_response(self, status: int, code: str, message: str) -> ResponseTimeline:
        return full_response(
            status, self._frames.error_body(status, code, message), wait_s=_ERROR_DELAY_S
        )

    def _refusal_response(self, refusal: Refusal, headers: dict[str, str]) -> ResponseTimeline:
        body = self._frames.error_body(
            429, "429" if self.spec.wire == "azure" else "rate_limit_exceeded",
            f"The {refusal.limit} limit of this deployment is reached.",
        )  # fmt: skip
        timeline = full_response(429, body, wait_s=_ERROR_DELAY_S)
        timeline.headers = {**timeline.headers, **headers, **refusal_headers(self.spec, refusal)}
        return timeline

    # -- answers

    def _spillover_response(
        self, request: SimulatedRequest, slowdown: float, now: float
    ) -> ResponseTimeline:
        self.counters.spilled += 1
        headers = {
            "x-ms-region": self.spec.region,
            "x-ms-deployment-name": f"{self.spec.model}-spillover",
            "x-ms-spillover-from-deployment": self.spec.model,
            "x-ms-spillover-error": "429",
        }
        timings = PAYG_LATENCY.slowed_by(slowdown).sample(self._rng, request.tokens.prompt_tokens)
        return self._build_timeline(request, timings, None, headers, lambda output, now: None, now)

    def _admitted_response(
        self,
        request: SimulatedRequest,
        slowdown: float,
        fault: Fault | None,
        headers: dict[str, str],
        settle: Callable[[int, float], None],
        now: float,
    ) -> ResponseTimeline:
        latency = self.spec.latency if slowdown == 1 else self.spec.latency.slowed_by(slowdown)
        rng = self._rng if request.seed is None else random.Random(request.seed)
        timings = latency.sample(
            rng, max(0, request.tokens.prompt_tokens - request.tokens.cached_tokens)
        )
        return self._build_timeline(request, timings, fault, headers, settle, now)

    def _build_timeline(
        self,
        request: SimulatedRequest,
        timings: tuple[float, float],
        fault: Fault | None,
        headers: dict[str, str],
        settle: Callable[[int, float], None],
        now: float,
    ) -> ResponseTimeline:
        completion = self._completion_for(request)
        ttft, gap = timings
        counters = self.counters
        counters.in_flight += 1
        counters.prompt += completion.prompt_tokens

        def on_finish(output_tokens: int, is_complete: bool, end: float) -> None:
            if not request.stream and not is_complete:
                # The client saw no token, but the model has generated since the first.
                output_tokens = min(completion.output_tokens, max(0, int((end - now - ttft) / gap)))
            counters.in_flight -= 1
            counters.output += output_tokens
            counters.answered += is_complete and fault is None
            counters.broken_off += not is_complete
            settle(output_tokens, end)

        if fault:
            counters.faulted += 1
        steps = self._stream_chunks(completion, ttft, gap, fault) if request.stream else (
            self._body_chunks(completion, ttft, gap, fault)
        )  # fmt: skip
        kind = "text/event-stream" if request.stream else JSON
        headers = {"content-type": kind, **headers, "x-request-id": completion.id}
        end = _ENDS.get(fault.kind, "whole") if fault else "whole"
        return ResponseTimeline(200, headers, steps, end=end, on_finish=on_finish)

    def _completion_for(self, request: SimulatedRequest) -> CompletionData:
        output, cut = request.output_length(self.spec.default_output_tokens)
        id_ = f"sim-{self.spec.name}-{self.counters.requests}"
        cost = request.tokens
        cached = min(cost.cached_tokens, cost.prompt_tokens)
        return CompletionData(
            id_, self.spec.model, cost.prompt_tokens, cached, output, cut, request.include_usage
        )

    def _stream_chunks(
        self, completion: CompletionData, ttft: float, gap: float, fault: Fault | None
    ) -> Iterator[BodyChunk]:
        """A stream: the first token comes with the opening frames, the last with the end."""
        frames, sigma, gauss = self._frames, self.spec.latency.gap_sigma, self._rng.gauss
        content = frames.content_renderer(completion)
        wait, data, tokens = ttft, frames.opening(completion), 0
        left, count, size = completion.output_tokens, 0, 1
        until = fault.after if fault else -1
        while left > 0 and count != until:
            size = min(left, size)
            data += content(size)
            tokens, left, count = size, left - size, count + 1
            if left > 0:
                yield BodyChunk(wait, data, tokens)
                size = self.spec.tokens_per_frame
                wait = gap * min(left, size) * math.exp(gauss(0.0, sigma))
                data, tokens = b"", 0
        if fault is None:
            yield BodyChunk(wait, data + frames.closing(completion), tokens)
            return
        if data:
            yield BodyChunk(wait, data, tokens)
        yield from self._fault_chunks(fault, completion, gap)

    def _fault_chunks(
        self, fault: Fault, completion: CompletionData, gap: float
    ) -> Iterator[BodyChunk]:
        frames = self._frames
        match fault.kind:
            case "pings":
                while True:
                    yield BodyChunk(_PING_EVERY_S, frames.ping, 0)
            case "garbage":
                yield BodyChunk(gap, frames.malformed_event, 0)
            case "overloaded":
                error = frames.error_body(*frames.overload_error, "Overloaded")
                yield BodyChunk(gap, frames.error_event(error), 0)
            case "content_filter":
                yield BodyChunk(gap, frames.content_filtered_end(completion), 0)

    def _body_chunks(
        self, completion: CompletionData, ttft: float, gap: float, fault: Fault | None
    ) -> Iterator[BodyChunk]:
        """A whole answer in one chunk, or the part that a fault leaves of it."""
        body, wait = self._frames.full_body(completion), ttft + gap * completion.output_tokens
        if fault is None or fault.kind not in MID_STREAM:
            yield BodyChunk(wait, body, completion.output_tokens)
            return
        yield BodyChunk(wait, body[: len(body) // 2], completion.output_tokens)
        while fault.kind == "pings":
            yield BodyChunk(_PING_EVERY_S, b" ", 0)
