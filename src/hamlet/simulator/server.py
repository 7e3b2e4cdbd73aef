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

from hamlet.simulator.faults import read_faults
from hamlet.simulator.scenario import Play, reply
from hamlet.simulator.world import World

ADMIN = "/_simulator/"
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
        self._host, self._port, self._each = host, port, ports == "each"
        self._servers: list[asyncio.Server] = []
        self._open: set[_Connection] = set()

    async def __aenter__(self) -> SimulatorServer:
        self.url = await self._listen("", self._port)
        for name in self.world.names if self._each else ():
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
        for connection in list(self._open):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()

    async def _listen(self, prefix: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, prefix), self._host, port)
        self._servers.append(server)
        return f"http://{self._host}:{server.sockets[0].getsockname()[1]}"

    def opened(self, connection: _Connection) -> None:
        """A client connected."""
        self.accepted += 1
        self._open.add(connection)

    def closed(self, connection: _Connection) -> None:
        """Its connection ended."""
        self._open.discard(connection)

    def answer(self, method: str, target: str, body: bytes) -> Play:
        """The answer to a request."""
        if target.startswith(ADMIN):
            return self._administer(method, target.removeprefix(ADMIN), body)
        return self.world.answer(method, target, body)

    def _administer(self, method: str, what: str, body: bytes) -> Play:
        if (method, what) == ("GET", "state"):
            state = {
                "accepted": self.accepted,
                "connections": len(self._open),
                "deployments": self.world.state(),
            }
            return reply(200, orjson.dumps(state))
        if (method, what) == ("PUT", "faults"):
            try:
                faults = read_faults(body)
            except ValueError as error:
                return reply(400, orjson.dumps({"error": str(error)}))
            self.world.set_faults(faults)
            return reply(200, orjson.dumps({"faults": len(faults)}))
        return reply(404, b'{"error":"GET state, or PUT faults"}')


class _Connection(asyncio.Protocol):
    """One client: parses its requests and plays the answers, one after the other."""

    def __init__(self, server: SimulatorServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target = ""
        self._body: list[bytes] = []
        self._size = 0
        self._waiting: deque[Play] = deque()
        self._play: Play | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._headed = False
        self._paused = False

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its name.
        self._transport = cast(asyncio.Transport, transport)
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        for play in (self._play, *self._waiting):
            if play is not None:
                play.done(self._server.world.clock())
        self._play = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._play is not None and self._timer is None:
            self._arm(self._play)

    def abort(self) -> None:
        """Reset the connection: with nothing to linger for, close sends RST, not FIN."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # -- requests, called by the parser

    def on_url(self, url: bytes) -> None:
        self._target += url.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _MAX_BODY_BYTES:
            self.abort()
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        target = self._target if self._target.startswith(ADMIN) else self._prefix + self._target
        play = self._server.answer(method, target, b"".join(self._body))
        self._target, self._body, self._size = "", [], 0
        self._waiting.append(play)
        if self._play is None:
            self._begin()

    # -- answers

    def _begin(self) -> None:
        play = self._play = self._waiting.popleft()
        self._headed = False
        self._due = self._loop.time()
        if play.before in ("abort", "refuse"):
            self.abort()
        elif play.before == "answer":
            self._arm(play)

    def _arm(self, play: Play) -> None:
        """Wait for the next step. Delays add up from the start, so lateness does not."""
        if play.upcoming is not None:
            self._due += play.upcoming.wait_s
            at = math.ceil(self._due / _TICK_S) * _TICK_S if self._headed else self._due
            self._timer = self._loop.call_at(at, self._step, play)
        elif play.end == "reset":
            self.abort()
        elif play.end == "cut":
            self._transport.close()

    def _step(self, play: Play) -> None:
        self._timer = None
        parts = [] if self._headed else [_head(play)]
        self._headed = True
        if data := play.send():
            parts += [b"%x\r\n" % len(data), data, b"\r\n"]
        if play.whole:
            parts.append(b"0\r\n\r\n")
        self._transport.write(b"".join(parts))
        if play.whole:
            self._over(play)
        elif not self._paused:
            self._arm(play)

    def _over(self, play: Play) -> None:
        play.done(self._server.world.clock())
        self._play = None
        if self._waiting:
            self._begin()


def _head(play: Play) -> bytes:
    lines = [f"HTTP/1.1 {play.status} {'OK' if play.status == 200 else 'No'}"]
    lines += [f"{name}: {value}" for name, value in play.headers.items()]
    return ("\r\n".join([*lines, "transfer-encoding: chunked"]) + "\r\n\r\n").encode("latin-1")
