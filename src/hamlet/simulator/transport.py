"""A transport into the simulated world: the real adapters run without sockets.

An adapter sees the same responses, failures and phases as over HTTP, so its parser and its
classification of errors are tested as well.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from hamlet.core import errors
from hamlet.core.errors import Phase
from hamlet.net.client.settings import MAX_BODY_BYTES
from hamlet.simulator.response_timeline import ResponseTimeline
from hamlet.simulator.world import World
from hamlet.spi import Log, ProviderSettings, Transport


class SimulatedTransport:
    """A transport to one provider of a world. Waits on the running loop, usually a virtual one."""

    def __init__(self, world: World, settings: ProviderSettings) -> None:
        self._world = world
        self._base = urlsplit(settings.base_url.rstrip("/")).path
        self._idle_s = settings.idle_timeout_s

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> AsyncIterator[SimulatedResponse]:
        body = content if json is None else orjson.dumps(json)
        timeline = self._world.respond(method, self._base + path, body or b"")
        try:
            yield await self._open(timeline)
        finally:
            timeline.finish(self._world.clock())

    async def aclose(self) -> None:
        return

    async def _open(self, timeline: ResponseTimeline) -> SimulatedResponse:
        if timeline.start_action == "refuse":
            raise errors.UpstreamUnavailable("the upstream cannot be reached", phase="connect")
        if timeline.start_action == "abort":
            raise errors.UpstreamUnavailable("the connection to the upstream was lost")
        if timeline.start_action == "hang":
            await _wait_or_time_out(math.inf, self._idle_s, "open")
        if timeline.next_chunk is not None:
            await _wait_or_time_out(timeline.next_chunk.wait_s, self._idle_s, "open")
        return SimulatedResponse(timeline, self._idle_s)


class SimulatedResponse:
    """A response of the simulated world; its head arrived with its first chunk."""

    def __init__(self, timeline: ResponseTimeline, idle_s: float) -> None:
        self.status = timeline.status
        self.headers = timeline.headers
        self._timeline = timeline
        self._idle_s = idle_s

    async def aread(self, limit: int = MAX_BODY_BYTES) -> bytes:
        whole = b"".join([data async for data in self.chunks()])
        if len(whole) > limit:
            raise errors.UpstreamProtocol(f"the upstream's answer is over {limit} bytes")
        return whole

    async def chunks(self) -> AsyncIterator[bytes]:
        timeline = self._timeline
        if timeline.next_chunk is not None:
            yield timeline.take_chunk()
        while (chunk := timeline.next_chunk) is not None:
            await _wait_or_time_out(chunk.wait_s, self._idle_s, "stream")
            yield timeline.take_chunk()
        if timeline.end == "hang":
            await _wait_or_time_out(math.inf, self._idle_s, "stream")
        if timeline.end != "whole":
            raise errors.UpstreamUnavailable("the upstream broke off its answer", phase="stream")


async def _wait_or_time_out(wait_s: float, idle_s: float, phase: Phase) -> None:
    if wait_s > 0:
        await asyncio.sleep(min(wait_s, idle_s))
    if wait_s > idle_s:
        raise errors.UpstreamTimeout("the upstream fell silent", phase=phase)


class SimulatedRuntime:
    """A Runtime whose transports lead into a simulated world."""

    def __init__(self, world: World, log: Log) -> None:
        self._world = world
        self._log = log

    @property
    def log(self) -> Log:
        return self._log

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        return SimulatedTransport(self._world, settings)

    def now(self) -> float:
        return self._world.clock()
