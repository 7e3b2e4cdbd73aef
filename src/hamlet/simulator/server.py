"""The simulated world over HTTP/1.1, cheap enough to share a machine with the tested gateway.

A response needs no task: a timer writes each chunk and schedules the next.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from types import TracebackType
from typing import cast

import httptools
import orjson

from hamlet.simulator.faults import parse_faults
from hamlet.simulator.response_timeline import ResponseTimeline, full_response
from hamlet.simulator.world import World

ADMIN_PREFIX = "/_simulator/"
_MAX_BODY_BYTES = 64 << 20
# Chunks after the first are sent on common ticks: one wake-up serves many responses.
_TICK_S = 0.005
_NO_LINGER = struct.pack("ii", 1, 0)


class SimulatorServer:
    """`async with SimulatorServer(world) as server:` serves all deployments at `server.url`.

    With `ports="each"` every name also has its own port, at `server.urls[name]`, where paths do not
    start with the name. `GET /_simulator/state` returns counters per deployment and the number of
    accepted connections; `PUT /_simulator/faults` replaces the faults by a JSON list.
    """

    def __init__(
        self, world: World, *, host: str = "127.0.0.1", port: int = 0, ports: str = "one"
    ) -> None:
        self.world = world
        self.accepted = 0
        self.urls: dict[str, str] = {}
        self._host, self._port, self._port_per_name = host, port, ports == "each"
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> SimulatorServer:
        self.url = await self._listen("", self._port)
        for name in self.world.names if self._port_per_name else ():
            self.urls[name] = await self._listen(f"/{name}", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()

    async def _listen(self, prefix: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, prefix), self._host, port)
        self._servers.append(server)
        return f"http://{self._host}:{server.sockets[0].getsockname()[1]}"

    def on_connected(self, connection: _Connection) -> None:
        """Register a client's connection."""
        self.accepted += 1
        self._connections.add(connection)

    def on_disconnected(self, connection: _Connection) -> None:
        """Forget a connection that ended."""
        self._connections.discard(connection)

    def respond(self, method: str, target: str, body: bytes) -> ResponseTimeline:
        """The response to a request."""
        if target.startswith(ADMIN_PREFIX):
            return self._respond_admin(method, target.removeprefix(ADMIN_PREFIX), body)
        return self.world.respond(method, target, body)

    def _respond_admin(self, method: str, action: str, body: bytes) -> ResponseTimeline:
        if (method, action) == ("GET", "state"):
            state = {
                "accepted": self.accepted,
                "connections": len(self._connections),
                "deployments": self.world.state(),
            }
            return full_response(200, orjson.dumps(state))
        if (method, action) == ("PUT", "faults"):
            try:
                faults = parse_faults(body)
            except ValueError as error:
                return full_response(400, orjson.dumps({"error": str(error)}))
            self.world.set_faults(faults)
            return full_response(200, orjson.dumps({"faults": len(faults)}))
        return full_response(404, b'{"error":"GET state, or PUT faults"}')


class _Connection(asyncio.Protocol):
    """One client's connection: parses requests and sends responses, one after the other."""

    def __init__(self, server: SimulatorServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target = ""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._pending: deque[ResponseTimeline] = deque()
        self._current: ResponseTimeline | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_write_at = 0.0
        self._head_sent = False
        self._paused = False

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport, but have its methods.
        self._transport = cast(asyncio.Transport, transport)
        self._server.on_connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.on_disconnected(self)
        if self._timer is not None:
            self._timer.cancel()
        for timeline in (self._current, *self._pending):
            if timeline is not None:
                timeline.finish(self._server.world.clock())
        self._current = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._current is not None and self._timer is None:
            self._schedule_chunk(self._current)

    def abort(self) -> None:
        """Reset the connection: with a linger time of 0, closing sends RST instead of FIN."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # -- requests: callbacks of the parser

    def on_url(self, url: bytes) -> None:
        self._target += url.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > _MAX_BODY_BYTES:
            self.abort()
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        target = (
            self._target if self._target.startswith(ADMIN_PREFIX) else self._prefix + self._target
        )
        timeline = self._server.respond(method, target, b"".join(self._body))
        self._target, self._body, self._body_bytes = "", [], 0
        self._pending.append(timeline)
        if self._current is None:
            self._start_next()

    # -- responses

    def _start_next(self) -> None:
        timeline = self._current = self._pending.popleft()
        self._head_sent = False
        self._next_write_at = self._loop.time()
        if timeline.start_action in ("abort", "refuse"):
            self.abort()
        elif timeline.start_action == "answer":
            self._schedule_chunk(timeline)

    def _schedule_chunk(self, timeline: ResponseTimeline) -> None:
        """Schedule the next chunk. Delays count from the start, so lateness does not accumulate."""
        if timeline.next_chunk is not None:
            self._next_write_at += timeline.next_chunk.wait_s
            at = (
                math.ceil(self._next_write_at / _TICK_S) * _TICK_S
                if self._head_sent
                else self._next_write_at
            )
            self._timer = self._loop.call_at(at, self._write_chunk, timeline)
        elif timeline.end == "reset":
            self.abort()
        elif timeline.end == "cut":
            self._transport.close()

    def _write_chunk(self, timeline: ResponseTimeline) -> None:
        self._timer = None
        parts = [] if self._head_sent else [_response_head(timeline)]
        self._head_sent = True
        if data := timeline.take_chunk():
            parts += [b"%x\r\n" % len(data), data, b"\r\n"]
        if timeline.is_complete:
            parts.append(b"0\r\n\r\n")
        self._transport.write(b"".join(parts))
        if timeline.is_complete:
            self._finish_current(timeline)
        elif not self._paused:
            self._schedule_chunk(timeline)

    def _finish_current(self, timeline: ResponseTimeline) -> None:
        timeline.finish(self._server.world.clock())
        self._current = None
        if self._pending:
            self._start_next()


def _response_head(timeline: ResponseTimeline) -> bytes:
    lines = [f"HTTP/1.1 {timeline.status} {'OK' if timeline.status == 200 else 'No'}"]
    lines += [f"{name}: {value}" for name, value in timeline.headers.items()]
    return ("\r\n".join([*lines, "transfer-encoding: chunked"]) + "\r\n\r\n").encode("latin-1")
