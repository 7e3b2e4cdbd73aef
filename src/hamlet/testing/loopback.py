"""A scripted HTTP/1.1 server on loopback, for any HTTP client."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

BodyEnd = Literal["whole", "truncate", "reset", "hang"]


@dataclass(frozen=True, slots=True)
class Received:
    """A received request. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Canned:
    """A reply: status, headers, and a body in pieces, each flushed separately.

    `before` may replace the reply by a reset or a hang. Before each piece but the first the server
    waits `pause_s` seconds and for the event `gate`. `end` is how the body ends: "whole", cut off
    ("truncate"), by a reset, or never ("hang"). With `raw` the pieces are written as they are,
    without head and framing, and "whole" keeps the connection open.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterable[bytes] = ()
    before: Literal["answer", "reset", "hang"] = "answer"
    pause_s: float = 0.0
    gate: asyncio.Event | None = None
    end: BodyEnd = "whole"
    raw: bool = False


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> Canned:
    """A JSON reply. Bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Canned(status, {"content-type": "application/json", **headers}, [body])


def sse_reply(
    frames: Sequence[bytes],
    *,
    split: int | None = None,
    pause_s: float = 0.0,
    gate: asyncio.Event | None = None,
    end: BodyEnd = "whole",
    headers: Mapping[str, str] = {},
) -> Canned:
    """An event stream: one piece per frame, or pieces of `split` bytes."""
    pieces = list(frames)
    if split:
        joined = b"".join(frames)
        pieces = [joined[i : i + split] for i in range(0, len(joined), split)]
    events = {"content-type": "text/event-stream", **headers}
    return Canned(200, events, pieces, pause_s=pause_s, gate=gate, end=end)


class LoopbackUpstream:
    """`async with LoopbackUpstream() as upstream:` serves on `upstream.url`.

    Replies are sent in order and the last one repeats; `respond` may compute them instead. With
    `tls` it serves HTTPS; a connection that fails its handshake counts in `accepted` only.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[Received] = []
        self.accepted = 0
        self.hangups = 0
        self._replies: list[Canned] = []
        self._respond: Callable[[Received], Canned] | None = None
        self._state_changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LoopbackUpstream:
        self._server = await asyncio.start_server(
            self._on_connection, "127.0.0.1", 0, limit=1 << 20, ssl=self._tls
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def reply(self, *replies: Canned) -> None:
        """Send these replies from now on."""
        self._replies, self._respond = list(replies), None

    def respond(self, function: Callable[[Received], Canned]) -> None:
        """Compute each reply from its request."""
        self._respond = function

    async def received(self, count: int = 1, within_s: float = 30.0) -> None:
        """Wait until `count` requests have arrived. Raises TimeoutError after `within_s`."""
        await self._wait_until(lambda: len(self.requests) >= count, within_s)

    async def hung_up(self, count: int = 1, within_s: float = 30.0) -> None:
        """Wait until clients have aborted `count` replies. Raises TimeoutError."""
        await self._wait_until(lambda: self.hangups >= count, within_s)

    async def _wait_until(self, condition: Callable[[], bool], within_s: float) -> None:
        async with asyncio.timeout(within_s), self._state_changed:
            await self._state_changed.wait_for(condition)

    async def _notify_waiters(self) -> None:
        async with self._state_changed:
            self._state_changed.notify_all()

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_connection(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # The server is closing; nothing awaits this task.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first = await reader.read(1)
        while first:
            request = await _read_request(first, reader)
            self.requests.append(request)
            await self._notify_waiters()
            canned = self._next_reply(request)
            # A client that waits for a reply sends nothing, so this read ends when it disconnects.
            disconnect = asyncio.ensure_future(reader.read(1))
            try:
                no_body = request.method == "HEAD"
                if not await self._send_reply(canned, writer, disconnect, no_body):
                    return
                first = await disconnect
            finally:
                disconnect.cancel()

    def _next_reply(self, request: Received) -> Canned:
        if self._respond is not None:
            return self._respond(request)
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    async def _send_reply(
        self,
        canned: Canned,
        writer: asyncio.StreamWriter,
        disconnect: asyncio.Future[bytes],
        no_body: bool,
    ) -> bool:
        """Send a reply, only its head with `no_body`; False if the connection has ended."""
        if canned.before == "reset":
            writer.transport.abort()
            return False
        if canned.before == "hang":
            return await self._await_disconnect(disconnect)
        if not canned.raw:
            writer.write(_response_head(canned))
        if no_body:
            await writer.drain()
            return True
        for i, piece in enumerate(canned.pieces):
            if i and canned.gate and await self._disconnects_during(disconnect, canned.gate.wait()):
                return False
            if (
                i
                and canned.pause_s
                and await self._disconnects_during(disconnect, asyncio.sleep(canned.pause_s))
            ):
                return False
            writer.write(piece if canned.raw else b"%x\r\n%s\r\n" % (len(piece), piece))
            try:
                await writer.drain()
            except ConnectionError:
                return await self._await_disconnect(disconnect)
        return await self._end_body(canned, writer, disconnect)

    async def _end_body(
        self, canned: Canned, writer: asyncio.StreamWriter, disconnect: asyncio.Future[bytes]
    ) -> bool:
        if canned.end == "hang":
            return await self._await_disconnect(disconnect)
        if canned.end == "reset":
            writer.transport.abort()
            return False
        if canned.end == "whole" and not canned.raw:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return canned.end == "whole"

    async def _disconnects_during(self, disconnect: asyncio.Future[bytes], pause: Any) -> bool:
        """Await `pause` unless the client disconnects first; True if it did."""
        waiting = asyncio.ensure_future(pause)
        try:
            await asyncio.wait({disconnect, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if disconnect.done():
            await self._await_disconnect(disconnect)
        return disconnect.done()

    async def _await_disconnect(self, disconnect: asyncio.Future[bytes]) -> bool:
        """Wait for the client to disconnect, and count it. Always False."""
        with suppress(ConnectionError):
            await disconnect
        self.hangups += 1
        await self._notify_waiters()
        return False


def _response_head(canned: Canned) -> bytes:
    headers = {"transfer-encoding": "chunked", **canned.headers}
    lines = [f"HTTP/1.1 {canned.status} X", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_request(first: bytes, reader: asyncio.StreamReader) -> Received:
    head = first + await reader.readuntil(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await _read_body(headers, reader)
    url = urlsplit(target)
    return Received(method, url.path, dict(parse_qsl(url.query)), headers, body)


async def _read_body(headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        parts: list[bytes] = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", 0)))
