"""CPU time of each step of a plain chat call, and their sum compared with the call: `make bench-steps`.

    python -m loadtest.bench.call_steps [--rounds N] [--calls N]

The application runs in this process on uvloop with a key, a rate, metrics and the access line; the
upstream (nginx with one fixed response) is a process of its own. Rounds of the steps and of the whole
call are interleaved. Prints CPU microseconds per call: the lowest round, the median, and its share of
the median call. The HTTP server's part is in neither; see `make bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from hamlet.api.dialects.openai import OpenAIDialect
from hamlet.api.dispatcher import request_id_of
from hamlet.api.http import Request, Response
from hamlet.api.streaming import send_response
from hamlet.app import Hamlet
from hamlet.config import load
from hamlet.core import FinishReason, NativeChunk, NativeRequest, Usage
from hamlet.core.trace import start_trace
from hamlet.gateway import Attempt, Call, CallRecord
from hamlet.gateway.admission import Priority
from hamlet.gateway.gateway import estimate_cost
from hamlet.gateway.parameters import prepare_native
from hamlet.gateway.selector import Selector
from hamlet.net.server.disconnect import EXTENSION, DisconnectWatcher
from hamlet.providers.openai import passthrough as wire
from hamlet.routing import LoadBalancer
from loadtest.bench import gateways
from loadtest.bench.stand import BODY, CHAT
from loadtest.engine.processes import Process, free_port, wait_until_ready

StepFunction = Callable[[], Awaitable[None]]
_HEADERS = [
    (b"host", b"127.0.0.1"),
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"authorization", f"Bearer {gateways.KEY}".encode()),
]
_USAGE = Usage(92, 48)
_CONNECTED = DisconnectWatcher()
_CONNECTED.request_complete = True


class CallSteps:
    """One application, and each step of its call alone."""

    def __init__(self, application: Hamlet) -> None:
        self._app = application
        self._gateway = application.gateway
        # A latency of zero for one deployment would make all others look slow.
        self._load_balancer = LoadBalancer()
        self._route = application.registries.current.route("gpt-4o-mini")
        self._deployment = self._route.tiers[0][0]
        self._headers = {name.decode(): value.decode() for name, value in _HEADERS}
        self._caller = application.keyring.authenticate(self._headers)
        self._dialect = OpenAIDialect()
        self._call = self._parse_call()
        self._prepared, _ = prepare_native(self._call, self._deployment, self._route.policy)
        self._response_body = b""

    def steps(self) -> dict[str, StepFunction]:
        """The steps by name, in the order of a call."""
        return {
            "begin (headers, trace, request id)": self._start_request,
            "auth": self._authenticate,
            "parse": self._parse_body,
            "admission": self._admit,
            "plan": self._select,
            "ledger": self._reserve,
            "prepare and encode": self._prepare,
            "attempt (our transport, upstream)": self._attempt,
            "look at the answer": self._inspect_response,
            "send": self._send,
            "metrics": self._record_metrics,
            "log line": self._log,
        }

    async def full_call(self) -> None:
        """The whole call, as the server runs it."""
        messages = [{"type": "http.request", "body": BODY, "more_body": False}]
        never = asyncio.get_running_loop().create_future()
        status = 0

        async def receive() -> Any:
            return messages.pop() if messages else await never

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        scope: Any = {"type": "http", "method": "POST", "path": CHAT, "headers": _HEADERS}
        scope["extensions"] = {EXTENSION: {"client": _CONNECTED}}
        await self._app({**scope, "query_string": b"", "client": ("127.0.0.1", 1)}, receive, send)
        assert status == 200, status

    def _parse_call(self) -> Call:
        request = Request("POST", CHAT, {}, self._headers, BODY, "req_0123456789")
        call = self._dialect.parse(request)
        call.prompt_bytes = len(BODY)
        return call

    async def _start_request(self) -> None:
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in _HEADERS}
        request_id_of(headers, start_trace(headers.get("traceparent")).trace_id)

    async def _authenticate(self) -> None:
        self._app.keyring.authenticate(self._headers)

    async def _parse_body(self) -> None:
        self._parse_call()

    async def _admit(self) -> None:
        await self._gateway.admission.acquire_slot(self._caller, Priority.CRITICAL, 60.0)
        self._gateway.admission.release_slot(self._caller)

    async def _select(self) -> None:
        load_balancer = self._load_balancer
        route_state = load_balancer.route_state(self._route, stream=False)
        cost = estimate_cost(self._call, route_state, stream=False)
        selection = await Selector(load_balancer, route_state, cost, lambda: 60.0).select_next()
        assert selection.deployment is self._deployment

    async def _reserve(self) -> None:
        load_balancer = self._load_balancer
        route_state = load_balancer.route_state(self._route, stream=False)
        cost = estimate_cost(self._call, route_state, stream=False)
        selection = load_balancer.select(route_state, load_balancer.build_context(cost))
        assert selection is not None
        reservation = load_balancer.reserve(selection, cost)
        load_balancer.record_success(reservation, 48.0)
        load_balancer.settle(reservation, _USAGE)

    async def _prepare(self) -> None:
        prepared, _ = prepare_native(self._call, self._deployment, self._route.policy)
        wire.encode_native_request(prepared, "max_completion_tokens")

    async def _attempt(self) -> None:
        request: NativeRequest = self._prepared
        provider: Any = self._deployment.provider.instance
        chunks: list[NativeChunk] = [chunk async for chunk in provider.native(request)]
        self._response_body = chunks[-1].data

    async def _inspect_response(self) -> None:
        wire.native_response(self._response_body)

    async def _send(self) -> None:
        async def send(message: Any) -> None:
            return

        await send_response(
            send, Response(200, self._response_body, {"x-request-id": "req_0123456789"})
        )

    def _record(self) -> CallRecord:
        record = CallRecord("chat", "gpt-4o-mini", "bench", "req_0123456789", False, 0.0, "openai")
        record.admitted, record.attempts, record.deployment = True, 1, self._deployment
        record.finish_reason, record.usage, record.trace_id = FinishReason.STOP, _USAGE, "a" * 32
        record.first_token_s, record.duration_s = 0.4, 0.5
        return record

    async def _record_metrics(self) -> None:
        metrics, record = self._app.metrics, self._record()
        metrics.on_start(record)
        metrics.on_attempt(record, Attempt(self._deployment, 0.0, 0.4))
        metrics.on_end(record)
        metrics.count_http_response(CHAT, 200)

    async def _log(self) -> None:
        self._app.access_log.on_end(self._record())


async def measure_cost_us(step: StepFunction, calls: int) -> float:
    """CPU microseconds per call, minus those of an empty step."""

    async def nothing() -> None:
        return

    spent = []
    for each in (nothing, step):
        begun = time.process_time()
        for _ in range(calls):
            await each()
        spent.append(time.process_time() - begun)
    return (spent[1] - spent[0]) / calls * 1e6


async def measure(application: Hamlet, rounds: int, calls: int) -> dict[str, list[float]]:
    """Interleaved rounds of all steps and the whole call."""
    call_steps = CallSteps(application)
    functions = {**call_steps.steps(), "whole": call_steps.full_call}
    # Later steps use the response of the attempt; this also warms up the code.
    for step in functions.values():
        await measure_cost_us(step, 50)
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, step in functions.items():
            found[name].append(await measure_cost_us(step, calls))
    return found


def table(found: dict[str, list[float]]) -> str:
    """The lowest round and the median of each step, their sum, and the whole call."""
    whole = statistics.median(found["whole"])
    steps = [rounds for name, rounds in found.items() if name != "whole"]
    rows = [*found.items()]
    rows.insert(-1, ("sum of the steps", [sum(column) for column in zip(*steps, strict=True)]))
    lines = [f"{'step':36} {'lowest':>8} {'median':>8} {'share':>6}"]
    for name, rounds in rows:
        median = statistics.median(rounds)
        lines.append(f"{name:36} {min(rounds):8.1f} {median:8.1f} {median / whole:6.0%}")
    return "\n".join(lines)


def main() -> None:
    """Start the upstream, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=500)
    options = parser.parse_args()
    os.environ["BENCH_KEY"] = gateways.KEY
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        upstream = Process(gateways.nginx_static(port, folder).command, log=folder / "log")
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/", upstream, 10)
            gateways.hamlet("httptools")(0, f"http://127.0.0.1:{port}", folder, folder)
            # The access lines go to a file.
            sys.stderr = (folder / "lines").open("w")
            application = Hamlet(load(folder / "hamlet.yaml"))
            found = uvloop.run(measure(application, options.rounds, options.calls))
        finally:
            sys.stderr = sys.__stderr__
            upstream.stop()
    print(table(found))


if __name__ == "__main__":
    main()
