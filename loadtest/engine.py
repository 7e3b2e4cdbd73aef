"""The open loop: every request goes out when the schedule says, however the target does."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamlet.core.errors import ProviderError
from hamlet.spi import FrameReader, ProviderSettings, Transport, parse_block
from hamlet.spi.h1 import HttptoolsTransport
from hamlet.testing.simulator.asks import marker
from loadtest.outcome import Look, Sample
from loadtest.proc import cpu_s, descriptors, rss_mib
from loadtest.schedule import Shot

PATH = "/v1/chat/completions"
_END_S = 60.0
_FILLER = "Tell me more about that, please. "


@dataclass(frozen=True, slots=True)
class Side:
    """Where requests go: a name, a base URL, the key, and the model asked for."""

    name: str
    url: str
    key: str
    model: str


async def run(
    shots: Sequence[Shot],
    sides: Sequence[Side],
    *,
    prompt_bytes: int = 400,
    pid: int | None = None,
    progress: Callable[[float, int], None] = lambda at, done: None,
) -> tuple[list[Sample], list[Look]]:
    """Send all of `shots` to each of `sides`; the first is the target, whose process is watched."""
    clock = _Clock(time.perf_counter() + 0.2)
    pools = {side.name: _transport(side) for side in sides}
    samples: list[Sample] = []
    tasks: list[asyncio.Task[None]] = []
    looks: list[Look] = []
    watching = asyncio.create_task(_watch(sides[0], clock, pid, looks))
    try:
        for shot in shots:
            await clock.reach(shot.at_s)
            for side in sides:
                sample = Sample(shot.number, side.name, shot.at_s)
                samples.append(sample)
                body = _body(shot, side.model, prompt_bytes)
                sending = _send(pools[side.name], body, shot, sample, clock)
                tasks.append(asyncio.create_task(sending))
            progress(shot.at_s, sum(task.done() for task in tasks[-500:]))
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        # Let the watcher see the end too.
        await asyncio.sleep(0.3)
    finally:
        watching.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(watching, *tasks, return_exceptions=True)
        for pool in pools.values():
            await pool.aclose()
    return samples, looks


class _Clock:
    """Seconds since the run's start."""

    def __init__(self, start: float) -> None:
        self._start = start

    def now(self) -> float:
        return time.perf_counter() - self._start

    async def reach(self, at: float) -> None:
        """Sleep until then; not at all if it is past."""
        left = at - self.now()
        if left > 0:
            await asyncio.sleep(left)


def _transport(side: Side) -> HttptoolsTransport:
    settings = ProviderSettings(
        base_url=side.url, connect_timeout_s=10.0, idle_timeout_s=120.0, max_connections=20_000
    )
    return HttptoolsTransport(settings, {"authorization": f"Bearer {side.key}"})


def _body(shot: Shot, model: str, prompt_bytes: int) -> bytes:
    text = _FILLER * max(1, prompt_bytes // len(_FILLER))
    asked = f"{text} {marker(shot.prompt, shot.output)}"
    body = {"model": model, "messages": [{"role": "user", "content": asked}]}
    return json.dumps(body | ({"stream": True} if shot.stream else {})).encode()


async def _send(http: Transport, body: bytes, shot: Shot, sample: Sample, clock: _Clock) -> None:
    sample.sent = clock.now()
    try:
        async with http.stream("POST", PATH, content=body) as reply:
            sample.says_when = "retry-after" in reply.headers
            if reply.status != 200:
                await reply.aread()
                sample.outcome = f"status {reply.status}"
            elif shot.stream:
                sample.outcome = await _listen(reply.chunks(), shot, sample, clock)
            else:
                await reply.aread()
                sample.first, sample.outcome = clock.now(), "ok"
    except ProviderError as error:
        sample.outcome = f"{error.phase}: {type(error).__name__}"
    except asyncio.CancelledError:
        sample.outcome = "cut by the engine"
        raise
    finally:
        sample.last = clock.now()


async def _listen(chunks: object, shot: Shot, sample: Sample, clock: _Clock) -> str:
    """Read a stream: its first content, its chunks, and whether it ended as it should."""
    reader = FrameReader()
    ended = False
    async for data in chunks:  # type: ignore[attr-defined]
        for block in reader.feed(data):
            frame = parse_block(block)
            if frame is None:
                continue
            if frame.data == b"[DONE]":
                ended = True
            elif b'"error"' in frame.data[:40]:
                return "error in the stream"
            elif b'"content":"' in frame.data:
                sample.chunks += 1
                if math.isnan(sample.first):
                    sample.first = clock.now()
                if shot.leaves:
                    return "left"
    return "ok" if ended else "no end"


async def _watch(side: Side, clock: _Clock, pid: int | None, looks: list[Look]) -> None:
    """Once a second: what the process uses, and how late its loop answers the simplest question."""
    http = _transport(side)
    worst = math.nan
    due = 0.0
    try:
        while True:
            asked = clock.now()
            try:
                async with http.stream("GET", "/livez") as reply:
                    await reply.aread()
                took = (clock.now() - asked) * 1000
                worst = took if math.isnan(worst) else max(worst, took)
            except ProviderError:
                worst = math.nan
            if clock.now() >= due:
                looks.append(_look(clock.now(), pid, worst))
                worst, due = math.nan, clock.now() + 1.0
            await asyncio.sleep(0.1)
    finally:
        await http.aclose()


def _look(at: float, pid: int | None, lag_ms: float) -> Look:
    look = Look(at, lag_ms=lag_ms)
    if pid is not None:
        try:
            look.cpu_s, look.rss_mib = cpu_s(pid), rss_mib(pid)
            look.descriptors = descriptors(pid)
        except OSError:
            pass
    return look
