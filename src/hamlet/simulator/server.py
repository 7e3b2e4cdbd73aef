"""The simulated world over HTTP/1.1 on loopback, cheap enough to run beside what it tests.

One callback chain an answer, no task: at each step a timer writes and arms the next.
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
# Events after the first go out on common ticks: one wake-up of the process serves many answers.
_TICK_S = 0.005
_NO_LINGER = struct.pack("ii", 1, 0)


class SimulatorServer:
    """`async with SimulatorServer(world) as server:` plays all deployments at `server.url`.

    With `ports="each"` every name has a port of its own besides, at `server.urls[name]`, where
    paths have no name in front. `GET /_simulator/state` tells counters per deployment and the
    connections accepted; `PUT /_simulator/faults` sets a JSON list of faults from now on.
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
        """A client connected."""
        self.accepted += 1
        self._connections.add(connection)

    def on_disconnected(self, connection: _Connection) -> None:
        """Its connection ended."""
        self._connections.discard(connection)

    def respond(self, method: str, target: str, body: bytes) -> ResponseTimeline:
        """The answer to a request."""
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
    """One client: parses its requests and plays the answers, one after the other."""

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
        # uvloop's transports have the methods of asyncio.Transport, but not its name.
        self._transport = cast(asyncio.Transport, transport)
        self._server.on_connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.on_disconnected(self)
        if self._timer is not None:
            self._timer.cancel()
        for play in (self._current, *self._pending):
            if play is not None:
                play.finish(self._server.world.clock())
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
        """Reset the connection: with nothing to linger for, close sends RST, not FIN."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # -- requests, called by the parser

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
        play = self._server.respond(method, target, b"".join(self._body))
        self._target, self._body, self._body_bytes = "", [], 0
        self._pending.append(play)
        if self._current is None:
            self._start_next()

    # -- answers

    def _start_next(self) -> None:
        play = self._current = self._pending.popleft()
        self._head_sent = False
        self._next_write_at = self._loop.time()
        if play.start_action in ("abort", "refuse"):
            self.abort()
        elif play.start_action == "answer":
            self._schedule_chunk(play)

    def _schedule_chunk(self, play: ResponseTimeline) -> None:
        """Wait for the next step. Delays add up from the start, so lateness does not."""
        if play.next_chunk is not None:
            self._next_write_at += play.next_chunk.wait_s
            at = (
                math.ceil(self._next_write_at / _TICK_S) * _TICK_S
                if self._head_sent
                else self._next_write_at
            )
            self._timer = self._loop.call_at(at, self._write_chunk, play)
        elif play.end == "reset":
            self.abort()
        elif play.end == "cut":
            self._transport.close()

    def _write_chunk(self, play: ResponseTimeline) -> None:
        self._timer = None
        parts = [] if self._head_sent else [_response_head(play)]
        self._head_sent = True
        if data := play.take_chunk():
            parts += [b"%x\r\n" % len(data), data, b"\r\n"]
        if play.is_complete:
            parts.append(b"0\r\n\r\n")
        self._transport.write(b"".join(parts))
        if play.is_complete:
            self._finish_current(play)
        elif not self._paused:
            self._schedule_chunk(play)

    def _finish_current(self, play: ResponseTimeline) -> None:
        play.finish(self._server.world.clock())
        self._current = None
        if self._pending:
            self._start_next()


def _response_head(play: ResponseTimeline) -> bytes:
    lines = [f"HTTP/1.1 {play.status} {'OK' if play.status == 200 else 'No'}"]
    lines += [f"{name}: {value}" for name, value in play.headers.items()]
    return ("\r\n".join([*lines, "transfer-encoding: chunked"]) + "\r\n\r\n").encode("latin-1")
