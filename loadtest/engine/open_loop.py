"""The open loop: every request is sent at its scheduled time, however slow the target is."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hamlet.core.errors import ProviderError
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.simulator.simulated_request import marker
from hamlet.spi import Frame, FrameReader, ProviderSettings, Transport, parse_block
from loadtest.engine.processes import cpu_s, open_descriptors, rss_mib
from loadtest.engine.results import ResourceSample, Sample
from loadtest.engine.schedule import ScheduledRequest

PATH = "/v1/chat/completions"
_DRAIN_TIMEOUT_S = 60.0
# A scrape costs the target more than reading /proc does.
_SAMPLES_PER_TASK_SCRAPE = 5
_FILLER = "Tell me more about that, please. "
EventKind = Literal["", "content", "end", "error"]


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """Where requests go: a name, base URL, key, model, and further headers."""

    name: str
    url: str
    key: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One request in the target's dialect, and how its response is read.

    With `classify_event` the response is a stream of events; without, it is read completely and
    `is_valid_response` checks the body of a 200. `kind` groups requests in reports.
    """

    method: str
    path: str
    body: bytes = b""
    classify_event: Callable[[Frame], EventKind] | None = None
    is_valid_response: Callable[[bytes], bool] = bool
    kind: str = ""


# Encodes a scheduled request for one of the targets.
RequestFactory = Callable[[ScheduledRequest, LoadTarget], RequestSpec]


def chat_requests(prompt_bytes: int = 400) -> RequestFactory:
    """OpenAI chat completions with prompts of about `prompt_bytes` bytes."""
    text = _FILLER * max(1, prompt_bytes // len(_FILLER))

    def make_request(scheduled: ScheduledRequest, side: LoadTarget) -> RequestSpec:
        # The marker makes the simulated vendor respond equally fast through hamlet and directly.
        prompt = f"{text} {marker(scheduled.prompt_tokens, scheduled.output_tokens, seed=scheduled.number)}"
        body = {"model": side.model, "messages": [{"role": "user", "content": prompt}]}
        if not scheduled.stream:
            return RequestSpec("POST", PATH, json.dumps(body).encode())
        return RequestSpec(
            "POST", PATH, json.dumps(body | {"stream": True}).encode(), _classify_openai_event
        )

    return make_request


def _classify_openai_event(frame: Frame) -> EventKind:
    if frame.data == b"[DONE]":
        return "end"
    if b'"error"' in frame.data[:40]:
        return "error"
    return "content" if b'"content":"' in frame.data else ""


async def run_open_loop(
    schedule: Sequence[ScheduledRequest],
    sides: Sequence[LoadTarget],
    *,
    make_request: RequestFactory | None = None,
    pids: Mapping[str, int] = {},
    abort_lag_s: float = math.inf,
    progress: Callable[[float], None] = lambda at: None,
) -> tuple[list[Sample], dict[str, list[ResourceSample]]]:
    """Send every request of the schedule to each of `sides`.

    Returns the samples of all requests, and by name the resource samples of the first side and of
    those in `pids`, once a second. `make_request` defaults to OpenAI chat completions. A sender that
    is more than `abort_lag_s` seconds late stops sending.
    """
    clock, make_request = _RunClock(time.perf_counter() + 0.2), make_request or chat_requests()
    pools = {side.name: _transport(side) for side in sides}
    samples: list[Sample] = []
    tasks: set[asyncio.Task[None]] = set()
    resource_samples: dict[str, list[ResourceSample]] = {
        s.name: [] for s in sides if s.name in pids or s is sides[0]
    }
    samplers = [
        asyncio.create_task(
            _sample_resources(side, clock, pids.get(side.name), resource_samples[side.name])
        )
        for side in sides
        if side.name in resource_samples
    ]
    try:
        for scheduled in schedule:
            await clock.sleep_until(scheduled.at_s)
            if clock.now() - scheduled.at_s > abort_lag_s:
                break
            for i in range(len(sides)):
                # The order rotates, since the last one waits until the others are sent.
                side = sides[(scheduled.number + i) % len(sides)]
                request = make_request(scheduled, side)
                sample = Sample(scheduled.number, side.name, scheduled.at_s, kind=request.kind)
                samples.append(sample)
                sending = _send(pools[side.name], request, scheduled.disconnects, sample, clock)
                tasks.add(task := asyncio.create_task(sending))
                task.add_done_callback(tasks.discard)
            progress(scheduled.at_s)
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_TIMEOUT_S)
        # One more sample after the end.
        await asyncio.sleep(0.3)
    finally:
        for task in (*samplers, *tasks):
            task.cancel()
        await asyncio.gather(*samplers, *tasks, return_exceptions=True)
        for pool in pools.values():
            await pool.aclose()
    return samples, resource_samples


class _RunClock:
    """Seconds since the run's start."""

    def __init__(self, start: float) -> None:
        self._start = start

    def now(self) -> float:
        return time.perf_counter() - self._start

    async def sleep_until(self, at: float) -> None:
        """Sleep until `at`; return at once if that is past."""
        left = at - self.now()
        if left > 0:
            await asyncio.sleep(left)


def _transport(side: LoadTarget) -> HttptoolsTransport:
    settings = ProviderSettings(
        base_url=side.url, connect_timeout_s=10.0, idle_timeout_s=120.0, max_connections=20_000
    )
    own = {"authorization": f"Bearer {side.key}", "content-type": "application/json"}
    return HttptoolsTransport(settings, {**own, **side.headers})


async def _send(
    http: Transport, request: RequestSpec, disconnects: bool, sample: Sample, clock: _RunClock
) -> None:
    sample.sent = clock.now()
    try:
        async with http.stream(request.method, request.path, content=request.body) as reply:
            sample.says_when = "retry-after" in reply.headers
            if reply.status != 200:
                await reply.aread()
                sample.outcome = f"status {reply.status}"
            elif request.classify_event is not None:
                sample.outcome = await _read_stream(
                    reply.chunks(), request.classify_event, disconnects, sample, clock
                )
            else:
                body = await reply.aread()
                sample.first = clock.now()
                sample.outcome = "ok" if request.is_valid_response(body) else "not an answer"
    except ProviderError as error:
        sample.outcome = f"{error.phase}: {type(error).__name__}"
    except asyncio.CancelledError:
        sample.outcome = "cut by the engine"
        raise
    finally:
        sample.last = clock.now()


async def _read_stream(
    chunks: AsyncIterator[bytes],
    classify_event: Callable[[Frame], EventKind],
    disconnects: bool,
    sample: Sample,
    clock: _RunClock,
) -> str:
    """Read a stream: its first content and chunks; the outcome."""
    reader = FrameReader()
    ended = False
    async for data in chunks:
        for block in reader.feed(data):
            frame = parse_block(block)
            event_kind = classify_event(frame) if frame else ""
            if event_kind == "error":
                return "error in the stream"
            ended |= event_kind == "end"
            if event_kind == "content":
                sample.chunks += 1
                if math.isnan(sample.first):
                    sample.first = clock.now()
                if disconnects:
                    return "left"
    return "ok" if ended else "no end"


async def _sample_resources(
    side: LoadTarget, clock: _RunClock, pid: int | None, resource_samples: list[ResourceSample]
) -> None:
    """Once a second: the process's resources, and the slowest of ten calls of /livez as the loop's lag."""
    http = _transport(side)
    max_lag_ms, due, count = math.nan, 0.0, 0
    try:
        while True:
            sent = clock.now()
            try:
                async with http.stream("GET", "/livez") as reply:
                    await reply.aread()
                took = (clock.now() - sent) * 1000
                max_lag_ms = took if math.isnan(max_lag_ms) else max(max_lag_ms, took)
            except ProviderError:
                max_lag_ms = math.nan
            if clock.now() >= due:
                resource_samples.append(_read_resources(clock.now(), pid, max_lag_ms))
                if pid is not None and count % _SAMPLES_PER_TASK_SCRAPE == 0:
                    resource_samples[-1].tasks = await _fetch_task_count(http)
                max_lag_ms, due, count = math.nan, clock.now() + 1.0, count + 1
            await asyncio.sleep(0.1)
    finally:
        await http.aclose()


async def _fetch_task_count(http: Transport) -> float:
    """The number of asyncio tasks, from hamlet's metrics; NaN of another target."""
    async with http.stream("GET", "/metrics") as reply:
        rows = (await reply.aread()).splitlines()
    return next((float(r.split()[1]) for r in rows if r.startswith(b"hamlet_tasks ")), math.nan)


def _read_resources(at: float, pid: int | None, lag_ms: float) -> ResourceSample:
    sample = ResourceSample(at, lag_ms=lag_ms)
    if pid is not None:
        try:
            sample.cpu_s, sample.rss_mib = cpu_s(pid), rss_mib(pid)
            sample.descriptors = open_descriptors(pid)
        except OSError:
            pass
    return sample
