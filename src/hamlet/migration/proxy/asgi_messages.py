"""ASGI helpers of the proxy: reading and replaying bodies, recording responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from hamlet.migration.captured_response import CapturedResponse
from hamlet.net.server.asgi import Message, Receive, Scope, Send

# How a stream reports a failure after its start, in the dialects served here.
_STREAM_ERROR_MARKERS = (b"event: error", b'data: {"error"')
_TAIL_BYTES = 2048


class BodyTooLarge(Exception):
    """The body exceeds the limit; `parts` is what has been read of it."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self.parts = parts


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """The complete body. Raises BodyTooLarge, or ConnectionResetError if the client disconnects."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLarge([body])
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise BodyTooLarge(parts)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def replay_body(parts: Iterable[bytes], receive: Receive, *, more_body: bool = False) -> Receive:
    """A receive callable that replays a body and then delegates to `receive`."""
    remaining = list(parts)

    async def receive_replayed() -> Message:
        if remaining:
            part = remaining.pop(0)
            return {"type": "http.request", "body": part, "more_body": more_body or bool(remaining)}
        return await receive()

    return receive_replayed


async def receive_forever() -> Message:
    """The receive callable of a client that never disconnects."""
    await asyncio.Event().wait()
    raise AssertionError


class StreamedBody:
    """A body that is forwarded as it arrives. `on_complete` runs once all of it has arrived."""

    def __init__(self, receive: Receive, on_complete: Callable[[], None]) -> None:
        self._receive, self._on_complete = receive, on_complete
        self.is_disconnected = False

    async def read_or_stream(self) -> bytes | AsyncIterator[bytes] | None:
        """The body itself if it came in one piece, else an iterator; None if it is empty."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        piece: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            self._on_complete()
            return piece or None
        return self._iter_pieces(piece)

    async def _iter_pieces(self, piece: bytes) -> AsyncIterator[bytes]:
        yield piece
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_disconnected = True
                raise ConnectionResetError
            yield message.get("body", b"")
            if not message.get("more_body", False):
                self._on_complete()
                return


class ResponseRecorder:
    """A send callable that forwards a response and records what is needed to evaluate the arm.

    With `hold_errors`, a response of status 400 or above is held back instead of being forwarded.
    """

    __slots__ = (
        "_capture_limit_bytes",
        "_captured_bytes",
        "_headers",
        "_hold_errors",
        "_on_start",
        "_parts",
        "_send",
        "_started_at",
        "_tail",
        "first_byte_s",
        "has_started",
        "held_messages",
        "is_complete",
        "status",
    )

    def __init__(
        self,
        send: Send,
        *,
        hold_errors: bool = False,
        capture_limit_bytes: int = 0,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._send, self._hold_errors, self._capture_limit_bytes, self._on_start = (
            send,
            hold_errors,
            capture_limit_bytes,
            on_start,
        )
        self._started_at = time.monotonic()
        self._tail = b""
        self._parts: list[bytes] = []
        self._captured_bytes = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self.status = 0
        self.held_messages: list[Message] = []
        self.has_started = False
        self.is_complete = False
        self.first_byte_s: float | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = message.get("headers", ())
            if not (self._hold_errors and self.status >= 400):
                self.has_started = True
                self._on_start()
        else:
            self._capture(message.get("body", b""), message.get("more_body", False))
        if self.has_started:
            await self._send(message)
        else:
            self.held_messages.append(message)

    def _capture(self, piece: bytes, more_body: bool) -> None:
        if piece:
            if self.first_byte_s is None:
                self.first_byte_s = time.monotonic() - self._started_at
            self._tail = piece[-_TAIL_BYTES:]
            if self._captured_bytes < self._capture_limit_bytes:
                self._parts.append(piece)
                self._captured_bytes += len(piece)
        self.is_complete = not more_body

    async def send_held_messages(self, send: Send) -> None:
        """Forward what was held back."""
        for message in self.held_messages:
            await send(message)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def is_server_failure(self) -> bool:
        """Whether the server failed, before its response or during it."""
        broken = _STREAM_ERROR_MARKERS[0] in self._tail or _STREAM_ERROR_MARKERS[1] in self._tail
        return self.status >= 500 or not self.is_complete or broken

    def captured_response(self) -> CapturedResponse:
        """The response as it was sent, as far as it was captured."""
        body = b"".join(self._parts)
        is_complete = self.is_complete and self._captured_bytes <= self._capture_limit_bytes
        return CapturedResponse(
            self.status, list(self._headers), body, self.first_byte_s, self.elapsed_s, is_complete
        )


def request_target(scope: Scope) -> str:
    """The raw path and query, as received."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def response_start(status: int, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def response_body(piece: bytes, *, more_body: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more_body}
