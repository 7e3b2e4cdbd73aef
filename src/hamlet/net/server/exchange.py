"""One request and its answer, as ASGI has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from hamlet.net.server.asgi import ASGI, Message, Receive, Scope, Send
from hamlet.net.server.flow_control import Flow
from hamlet.net.server.response_head import (
    CODING,
    CONNECTION,
    LABELS,
    LENGTH,
    STATUS_LINES,
    CommonHeaders,
    are_lines,
    label,
    says_close,
)

_HIGH_BYTES = 64 << 10
# A body up to this size goes out in one piece with what stands before it.
_JOIN_BYTES = 64 << 10
_BODILESS = (204, 304)
_log = logging.getLogger("uvicorn.error")


class Cycle:
    """Hands a request's body to the application and writes its answer.

    The head of the answer goes out with the first of its body, in one write; until then an
    application that fails is told of by a whole 500. After that all it can do is to break off.
    """

    __slots__ = (
        "_changed", "_chunked", "_common", "_continue", "_done", "_drops", "_flow", "_gone",
        "_head", "_left", "_more_body", "_news", "_parts", "_size", "_started", "_transport",
        "complete", "keep_alive", "scope",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        transport: asyncio.Transport,
        flow: Flow,
        common: CommonHeaders,
        done: Callable[[], None],
        *,
        expects_continue: bool,
        keep_alive: bool,
    ) -> None:
        """`done` is called when the answer is complete."""
        self.scope = scope
        self._transport, self._flow, self._common, self._done = transport, flow, common, done
        self._continue, self.keep_alive = expects_continue, keep_alive
        # Whether the answer is complete.
        self.complete = False
        self._gone = False
        # The request: what came and is not taken, and whether that is new to the application.
        self._parts: list[bytes] = []
        self._size = 0
        self._more_body = True
        self._news = False
        self._changed: asyncio.Event | None = None
        # The answer: its head while that waits for a body, and what its length has left.
        self._started = False
        self._head: bytes | None = None
        self._chunked = self._drops = False
        self._left = 0

    # -- for the connection

    @property
    def is_under_way(self) -> bool:
        """Whether some of the answer has gone out, but not all of it."""
        return self._started and self._head is None and not self.complete

    def feed(self, body: bytes) -> None:
        """A part of the body came."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > _HIGH_BYTES:
            self._flow.pause_reading()
        self._wake()

    def finish(self) -> None:
        """The whole body is here."""
        self._more_body = False
        self._wake()

    def lost(self) -> None:
        """The client has gone."""
        self._gone = True
        self._wake()

    async def run(self, app: ASGI) -> None:
        """Let the application answer; raises nothing."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            _log.error("Exception in ASGI application", exc_info=error)
            await self._fail()
        else:
            if not self.complete and not self._gone:
                _log.error("ASGI callable returned without completing response.")
                await self._fail()

    # -- for the application

    async def receive(self) -> Message:
        """The next part of the body, or that the client has gone or has its answer."""
        if self._continue and not self._transport.is_closing():
            self._continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not (self._gone or self.complete):
            if self._flow.read_paused:
                self._flow.resume_reading()
            while not (self._news or self._gone or self.complete):
                if self._changed is None:
                    self._changed = asyncio.Event()
                self._changed.clear()
                await self._changed.wait()
        if self._gone or self.complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._taken(), "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        """Take a part of the answer. Raises RuntimeError for what cannot be one."""
        if self._flow.write_paused and not self._gone:
            await self._flow.drained()
        if self._gone:
            return
        kind = message["type"]
        if self.complete:
            text = f"Unexpected ASGI message {kind!r} sent, after response already completed."
            raise RuntimeError(text)
        wanted = "http.response.body" if self._started else "http.response.start"
        if kind != wanted:
            raise RuntimeError(f"Expected ASGI message {wanted!r}, but got {kind!r}.")
        if self._started:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    # -- for an application that has hold of both ends: see `straight`

    def take(self, most: int) -> bytes | None:
        """The whole body, if all of it is here and it has at most `most` bytes."""
        if self._more_body or self._size > most or self._gone:
            return None
        if self._flow.read_paused:
            # Else nobody would notice that the client goes.
            self._flow.resume_reading()
        return self._taken()

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Send a whole answer now, of which `headers` tell the length if it has one.

        False, and nothing is done, if the client has to read first or a header is about the
        connection: then `send` is the way. Raises RuntimeError for a header that cannot be.
        """
        if self._started or self._flow.write_paused or "connection" in headers:
            return False
        if not self._gone:
            text = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
            self._make_head(status, text.encode("latin-1", "replace"), len(headers))
            self._put(body)
            self._end()
        return True

    # -- inside

    def _taken(self) -> bytes:
        parts, self._parts, self._size, self._news = self._parts, [], 0, False
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        self._news = True
        if self._changed is not None:
            self._changed.set()

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        closes, self._chunked, length = False, False, None
        lines: list[bytes] = []
        for name, value in headers:
            written = LABELS.get(name) or label(name)
            if written is LENGTH:
                length = int(value)
            elif written is CODING:
                self._chunked = value.lower() == b"chunked"
            elif written is CONNECTION:
                closes = closes or says_close(value)
            lines += (written, value)
        self._drops = self.scope["method"] == "HEAD"
        if length is None and not (self._chunked or self._drops or status in _BODILESS):
            self._chunked = True
            lines += (CODING, b"chunked")
        self._left = length or 0
        self._make_head(status, b"".join(lines), len(lines) // 2, closes=closes)

    def _make_head(self, status: int, fields: bytes, count: int, *, closes: bool = False) -> None:
        """Make the head of so many fields; with `closes` one of them ends the connection."""
        if not are_lines(fields, count):
            raise RuntimeError("Invalid HTTP header value.")
        common = self._common.lines()
        if closes or self._common.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            fields += b"\r\nconnection: close"
        self._head = b"%b%b%b\r\n\r\n" % (STATUS_LINES[status], common, fields)
        self._started, self._continue = True, False

    def _write(self, body: bytes, *, more: bool) -> None:
        self._put(b"" if self._drops else self._framed(body, more=more))
        if not more:
            self._end()

    def _put(self, data: bytes) -> None:
        head, self._head = self._head, None
        if head is not None:
            if len(data) > _JOIN_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        if data:
            self._transport.write(data)

    def _end(self) -> None:
        self.complete = True
        self._wake()
        if not self.keep_alive:
            self._transport.close()
        self._done()

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        self._left -= len(body)
        if self._left < 0:
            raise RuntimeError("Response content longer than Content-Length")
        if self._left and not more:
            raise RuntimeError("Response content shorter than Content-Length")
        return body

    async def _fail(self) -> None:
        if self.complete or self._gone:
            return
        if self.is_under_way:
            return self._transport.close()
        self._started, self._head = False, None
        text = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": text})


def straight(receive: Receive, send: Send) -> Cycle | None:
    """The cycle whose ends these are, if they are one's: then nobody stands before its client."""
    cycle = getattr(send, "__self__", None)
    ours = isinstance(cycle, Cycle) and getattr(receive, "__self__", None) is cycle
    return cycle if ours else None
