"""One request and its response, as ASGI messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from hamlet.net.server.asgi import ASGI, Message, Receive, Scope, Send
from hamlet.net.server.flow_control import FlowControl
from hamlet.net.server.response_head import (
    CONNECTION,
    CONTENT_LENGTH,
    HEADER_PREFIXES,
    STATUS_LINES,
    TRANSFER_ENCODING,
    CommonHeaders,
    has_close_token,
    has_field_lines,
    header_prefix,
)

_HIGH_WATER_BYTES = 64 << 10
# A body up to this size is written together with what precedes it.
_MAX_COALESCE_BYTES = 64 << 10
_NO_BODY_STATUSES = (204, 304)
_log = logging.getLogger("uvicorn.error")


class HttpExchange:
    """Passes a request's body to the application and writes its response.

    The head of the response is written together with the first part of its body. If the application
    fails before that, the client gets a whole 500; after that the connection is closed.
    """

    __slots__ = (
        "_body_parts",
        "_buffered_bytes",
        "_chunked",
        "_common_headers",
        "_disconnected",
        "_expects_continue",
        "_flow_control",
        "_has_unread",
        "_head",
        "_more_body",
        "_omit_body",
        "_on_complete",
        "_remaining_bytes",
        "_request_event",
        "_started",
        "_transport",
        "complete",
        "keep_alive",
        "scope",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        transport: asyncio.Transport,
        flow_control: FlowControl,
        common_headers: CommonHeaders,
        on_complete: Callable[[], None],
        *,
        expects_continue: bool,
        keep_alive: bool,
    ) -> None:
        """`on_complete` is called when the response is complete."""
        self.scope = scope
        self._transport, self._flow_control, self._common_headers, self._on_complete = (
            transport,
            flow_control,
            common_headers,
            on_complete,
        )
        self._expects_continue, self.keep_alive = expects_continue, keep_alive
        # Whether the response is complete.
        self.complete = False
        self._disconnected = False
        # The request: what the application has not taken, and whether some of it is new.
        self._body_parts: list[bytes] = []
        self._buffered_bytes = 0
        self._more_body = True
        self._has_unread = False
        self._request_event: asyncio.Event | None = None
        # The response: its head until that is written, and what its length leaves to be sent.
        self._started = False
        self._head: bytes | None = None
        self._chunked = self._omit_body = False
        self._remaining_bytes = 0

    # -- for the connection

    @property
    def is_partially_sent(self) -> bool:
        """Whether some of the response has been written, but not all of it."""
        return self._started and self._head is None and not self.complete

    def feed_body(self, body: bytes) -> None:
        """A part of the body has arrived."""
        self._body_parts.append(body)
        self._buffered_bytes += len(body)
        if self._buffered_bytes > _HIGH_WATER_BYTES:
            self._flow_control.pause_reading()
        self._wake_receiver()

    def finish_body(self) -> None:
        """The whole body has arrived."""
        self._more_body = False
        self._wake_receiver()

    def on_disconnect(self) -> None:
        """The client has disconnected."""
        self._disconnected = True
        self._wake_receiver()

    async def run(self, app: ASGI) -> None:
        """Run the application; raises nothing."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:
            _log.error("Exception in ASGI application", exc_info=error)
            await self._send_server_error()
        else:
            if not self.complete and not self._disconnected:
                _log.error("ASGI callable returned without completing response.")
                await self._send_server_error()

    # -- for the application

    async def receive(self) -> Message:
        """The next part of the body, or `http.disconnect` if the client is gone or answered."""
        if self._expects_continue and not self._transport.is_closing():
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not (self._disconnected or self.complete):
            if self._flow_control.read_paused:
                self._flow_control.resume_reading()
            while not (self._has_unread or self._disconnected or self.complete):
                if self._request_event is None:
                    self._request_event = asyncio.Event()
                self._request_event.clear()
                await self._request_event.wait()
        if self._disconnected or self.complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._pop_body(), "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        """Send a part of the response. Raises RuntimeError for an invalid message."""
        if self._flow_control.write_paused and not self._disconnected:
            await self._flow_control.wait_writable()
        if self._disconnected:
            return
        kind = message["type"]
        if self.complete:
            text = f"Unexpected ASGI message {kind!r} sent, after response already completed."
            raise RuntimeError(text)
        expected = "http.response.body" if self._started else "http.response.start"
        if kind != expected:
            raise RuntimeError(f"Expected ASGI message {expected!r}, but got {kind!r}.")
        if self._started:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._start_response(message["status"], message.get("headers", ()))

    # -- for an application that called `direct_exchange`

    def body_if_complete(self, max_bytes: int) -> bytes | None:
        """The whole body, if it has arrived and has at most `max_bytes` bytes."""
        if self._more_body or self._buffered_bytes > max_bytes or self._disconnected:
            return None
        if self._flow_control.read_paused:
            # A paused transport does not report a disconnect.
            self._flow_control.resume_reading()
        return self._pop_body()

    def try_respond(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Write a whole response now; `headers` have its length if it has a body.

        Returns False, having done nothing, if the write buffer is full or a header concerns the
        connection: use `send` then. Raises RuntimeError for an invalid header.
        """
        if self._started or self._flow_control.write_paused or "connection" in headers:
            return False
        if not self._disconnected:
            text = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
            self._build_head(status, text.encode("latin-1", "replace"), len(headers))
            self._write_with_head(body)
            self._complete_response()
        return True

    # -- internal

    def _pop_body(self) -> bytes:
        parts, self._body_parts, self._buffered_bytes, self._has_unread = (
            self._body_parts,
            [],
            0,
            False,
        )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake_receiver(self) -> None:
        self._has_unread = True
        if self._request_event is not None:
            self._request_event.set()

    def _start_response(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        closes, self._chunked, length = False, False, None
        lines: list[bytes] = []
        for name, value in headers:
            prefix = HEADER_PREFIXES.get(name) or header_prefix(name)
            if prefix is CONTENT_LENGTH:
                length = int(value)
            elif prefix is TRANSFER_ENCODING:
                self._chunked = value.lower() == b"chunked"
            elif prefix is CONNECTION:
                closes = closes or has_close_token(value)
            lines += (prefix, value)
        self._omit_body = self.scope["method"] == "HEAD"
        if length is None and not (self._chunked or self._omit_body or status in _NO_BODY_STATUSES):
            self._chunked = True
            lines += (TRANSFER_ENCODING, b"chunked")
        self._remaining_bytes = length or 0
        self._build_head(status, b"".join(lines), len(lines) // 2, closes=closes)

    def _build_head(self, status: int, fields: bytes, count: int, *, closes: bool = False) -> None:
        """Build the head of `count` field lines; `closes`: one of them closes the connection."""
        if not has_field_lines(fields, count):
            raise RuntimeError("Invalid HTTP header value.")
        common = self._common_headers.lines()
        if closes or self._common_headers.closes:
            self.keep_alive = False
        elif not self.keep_alive:
            fields += b"\r\nconnection: close"
        self._head = b"%b%b%b\r\n\r\n" % (STATUS_LINES[status], common, fields)
        self._started, self._expects_continue = True, False

    def _write_body(self, body: bytes, *, more: bool) -> None:
        self._write_with_head(b"" if self._omit_body else self._frame_body(body, more=more))
        if not more:
            self._complete_response()

    def _write_with_head(self, data: bytes) -> None:
        head, self._head = self._head, None
        if head is not None:
            if len(data) > _MAX_COALESCE_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        if data:
            self._transport.write(data)

    def _complete_response(self) -> None:
        self.complete = True
        self._wake_receiver()
        if not self.keep_alive:
            self._transport.close()
        self._on_complete()

    def _frame_body(self, body: bytes, *, more: bool) -> bytes:
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        self._remaining_bytes -= len(body)
        if self._remaining_bytes < 0:
            raise RuntimeError("Response content longer than Content-Length")
        if self._remaining_bytes and not more:
            raise RuntimeError("Response content shorter than Content-Length")
        return body

    async def _send_server_error(self) -> None:
        if self.complete or self._disconnected:
            return
        if self.is_partially_sent:
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


def direct_exchange(receive: Receive, send: Send) -> HttpExchange | None:
    """The exchange that `receive` and `send` belong to, or None if a middleware wraps either.

    Without a middleware in between, nobody needs to see the ASGI messages, and the body and the
    response can be passed by a plain call each.
    """
    exchange = getattr(send, "__self__", None)
    if isinstance(exchange, HttpExchange) and getattr(receive, "__self__", None) is exchange:
        return exchange
    return None
