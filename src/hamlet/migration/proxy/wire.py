"""ASGI messages on both sides of a crossing: bodies read and played again, answers watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from hamlet.migration.response import Answer
from hamlet.net.server.asgi import Message, Receive, Scope, Send

# How a stream tells that it failed after it had begun, in the dialects spoken here.
_IN_BAND = (b"event: error", b'data: {"error"')
_TAIL = 2048


class TooMuch(Exception):
    """The body is over the limit; what was read of it is in `parts`."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self.parts = parts


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises TooMuch, or ConnectionResetError if the client left."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        if len(whole) > limit:
            raise TooMuch([whole])
        return whole
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise TooMuch(parts)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def replay(parts: Iterable[bytes], receive: Receive, *, more: bool = False) -> Receive:
    """Play a body again; afterwards what `receive` gives."""
    left = list(parts)

    async def again() -> Message:
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": more or bool(left)}
        return await receive()

    return again


async def stays() -> Message:
    """A client that never leaves."""
    await asyncio.Event().wait()
    raise AssertionError


class Body:
    """A body that is passed on as it comes. `done` runs when all of it is there."""

    def __init__(self, receive: Receive, done: Callable[[], None]) -> None:
        self._receive, self._done = receive, done
        self.left = False

    async def first(self) -> bytes | AsyncIterator[bytes] | None:
        """The whole body if it came in one piece, else its pieces."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        piece: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            self._done()
            return piece or None
        return self._pieces(piece)

    async def _pieces(self, piece: bytes) -> AsyncIterator[bytes]:
        yield piece
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.left = True
                raise ConnectionResetError
            yield message.get("body", b"")
            if not message.get("more_body", False):
                self._done()
                return


class Watched:
    """Passes an answer on, and remembers of it what is needed to judge the arm.

    With `hold`, an answer that is none (status 400 and above) is not passed on but kept.
    """

    __slots__ = (
        *("_began", "_headers", "_hold", "_keep", "_parts", "_send", "_size", "_start"),
        *("_tail", "first_s", "held", "started", "status", "whole"),
    )

    def __init__(
        self,
        send: Send,
        *,
        hold: bool = False,
        keep: int = 0,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self._send, self._hold, self._keep, self._began = send, hold, keep, began
        self._start = time.monotonic()
        self._tail = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self.status = 0
        self.held: list[Message] = []
        self.started = False
        self.whole = False
        self.first_s: float | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = message.get("headers", ())
            if not (self._hold and self.status >= 400):
                self.started = True
                self._began()
        else:
            self._note(message.get("body", b""), message.get("more_body", False))
        if self.started:
            await self._send(message)
        else:
            self.held.append(message)

    def _note(self, piece: bytes, more: bool) -> None:
        if piece:
            if self.first_s is None:
                self.first_s = time.monotonic() - self._start
            self._tail = piece[-_TAIL:]
            if self._size < self._keep:
                self._parts.append(piece)
                self._size += len(piece)
        self.whole = not more

    async def release(self, send: Send) -> None:
        """Send what was held after all."""
        for message in self.held:
            await send(message)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    @property
    def failed(self) -> bool:
        """Whether the server failed, before its answer or in it."""
        broken = _IN_BAND[0] in self._tail or _IN_BAND[1] in self._tail
        return self.status >= 500 or not self.whole or broken

    def answer(self) -> Answer:
        """The answer as it was sent, so far as it was kept."""
        body = b"".join(self._parts)
        whole = self.whole and self._size <= self._keep
        return Answer(self.status, list(self._headers), body, self.first_s, self.elapsed_s, whole)


def target_of(scope: Scope) -> str:
    """The raw path and query, as they came."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def start(status: int, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(piece: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}
