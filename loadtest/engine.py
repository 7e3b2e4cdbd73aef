"""The open loop: every request goes out when the schedule says, however the target does."""

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
from hamlet.simulator.requests import marker
from hamlet.spi import Frame, FrameReader, ProviderSettings, Transport, parse_block
from loadtest.outcome import Look, Sample
from loadtest.proc import cpu_s, descriptors, rss_mib
from loadtest.schedule import Shot

PATH = "/v1/chat/completions"
_END_S = 60.0
# A scrape costs the target more than a look from outside.
_TASKS_EVERY = 5
_FILLER = "Tell me more about that, please. "
Sign = Literal["", "content", "end", "error"]


@dataclass(frozen=True, slots=True)
class Side:
    """Where requests go: a name, a base URL, the key, the model asked for, more headers."""

    name: str
    url: str
    key: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request in the target's own words, and how its answer is read.

    With `sign`, which says what an event means, the answer is a stream; without, it is read whole
    and `good` says whether an answer of status 200 is one. `kind` groups requests in reports.
    """

    method: str
    path: str
    body: bytes = b""
    sign: Callable[[Frame], Sign] | None = None
    good: Callable[[bytes], bool] = bool
    kind: str = ""


# What a shot is, said to one of the sides.
Words = Callable[[Shot, Side], Ask]


def chat(prompt_bytes: int = 400) -> Words:
    """OpenAI's chat completions, with prompts of about so many bytes."""
    text = _FILLER * max(1, prompt_bytes // len(_FILLER))

    def ask(shot: Shot, side: Side) -> Ask:
        # What is sent through hamlet and beside it is answered as quickly on either side.
        asked = f"{text} {marker(shot.prompt, shot.output, seed=shot.number)}"
        body = {"model": side.model, "messages": [{"role": "user", "content": asked}]}
        if not shot.stream:
            return Ask("POST", PATH, json.dumps(body).encode())
        return Ask("POST", PATH, json.dumps(body | {"stream": True}).encode(), _openai)

    return ask


def _openai(frame: Frame) -> Sign:
    if frame.data == b"[DONE]":
        return "end"
    if b'"error"' in frame.data[:40]:
        return "error"
    return "content" if b'"content":"' in frame.data else ""


async def run(
    shots: Sequence[Shot],
    sides: Sequence[Side],
    *,
    words: Words | None = None,
    pids: Mapping[str, int] = {},
    give_up_s: float = math.inf,
    progress: Callable[[float], None] = lambda at: None,
) -> tuple[list[Sample], dict[str, list[Look]]]:
    """Send all of `shots` to each of `sides`.

    The first side and those whose process `pids` names are watched. Gives the samples of all, and
    by side what was seen of it. `words` are those of OpenAI's chat unless given. A sender that is
    `give_up_s` behind its schedule sends no more.
    """
    clock, words = _Clock(time.perf_counter() + 0.2), words or chat()
    pools = {side.name: _transport(side) for side in sides}
    samples: list[Sample] = []
    tasks: set[asyncio.Task[None]] = set()
    looks: dict[str, list[Look]] = {s.name: [] for s in sides if s.name in pids or s is sides[0]}
    watching = [
        asyncio.create_task(_watch(side, clock, pids.get(side.name), looks[side.name]))
        for side in sides
        if side.name in looks
    ]
    try:
        for shot in shots:
            await clock.reach(shot.at_s)
            if clock.now() - shot.at_s > give_up_s:
                break
            for i in range(len(sides)):
                # Each goes first in turn: who goes last waits for the others to be sent.
                side = sides[(shot.number + i) % len(sides)]
                ask = words(shot, side)
                sample = Sample(shot.number, side.name, shot.at_s, kind=ask.kind)
                samples.append(sample)
                sending = _send(pools[side.name], ask, shot.leaves, sample, clock)
                tasks.add(task := asyncio.create_task(sending))
                task.add_done_callback(tasks.discard)
            progress(shot.at_s)
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        # Let the watcher see the end too.
        await asyncio.sleep(0.3)
    finally:
        for task in (*watching, *tasks):
            task.cancel()
        await asyncio.gather(*watching, *tasks, return_exceptions=True)
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
    own = {"authorization": f"Bearer {side.key}", "content-type": "application/json"}
    return HttptoolsTransport(settings, {**own, **side.headers})


async def _send(http: Transport, ask: Ask, leaves: bool, sample: Sample, clock: _Clock) -> None:
    sample.sent = clock.now()
    try:
        async with http.stream(ask.method, ask.path, content=ask.body) as reply:
            sample.says_when = "retry-after" in reply.headers
            if reply.status != 200:
                await reply.aread()
                sample.outcome = f"status {reply.status}"
            elif ask.sign is not None:
                sample.outcome = await _listen(reply.chunks(), ask.sign, leaves, sample, clock)
            else:
                whole = await reply.aread()
                sample.first = clock.now()
                sample.outcome = "ok" if ask.good(whole) else "not an answer"
    except ProviderError as error:
        sample.outcome = f"{error.phase}: {type(error).__name__}"
    except asyncio.CancelledError:
        sample.outcome = "cut by the engine"
        raise
    finally:
        sample.last = clock.now()


async def _listen(
    chunks: AsyncIterator[bytes],
    sign: Callable[[Frame], Sign],
    leaves: bool,
    sample: Sample,
    clock: _Clock,
) -> str:
    """Read a stream: its first content, its chunks, and whether it ended as it should."""
    reader = FrameReader()
    ended = False
    async for data in chunks:
        for block in reader.feed(data):
            frame = parse_block(block)
            said = sign(frame) if frame else ""
            if said == "error":
                return "error in the stream"
            ended |= said == "end"
            if said == "content":
                sample.chunks += 1
                if math.isnan(sample.first):
                    sample.first = clock.now()
                if leaves:
                    return "left"
    return "ok" if ended else "no end"


async def _watch(side: Side, clock: _Clock, pid: int | None, looks: list[Look]) -> None:
    """Once a second: what the process uses, and how late its loop answers the simplest question."""
    http = _transport(side)
    worst, due, count = math.nan, 0.0, 0
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
                if pid is not None and count % _TASKS_EVERY == 0:
                    looks[-1].tasks = await _tasks(http)
                worst, due, count = math.nan, clock.now() + 1.0, count + 1
            await asyncio.sleep(0.1)
    finally:
        await http.aclose()


async def _tasks(http: Transport) -> float:
    """How many tasks hamlet's loop has; NaN of anybody else."""
    async with http.stream("GET", "/metrics") as reply:
        rows = (await reply.aread()).splitlines()
    return next((float(r.split()[1]) for r in rows if r.startswith(b"hamlet_tasks ")), math.nan)


def _look(at: float, pid: int | None, lag_ms: float) -> Look:
    look = Look(at, lag_ms=lag_ms)
    if pid is not None:
        try:
            look.cpu_s, look.rss_mib = cpu_s(pid), rss_mib(pid)
            look.descriptors = descriptors(pid)
        except OSError:
            pass
    return look
