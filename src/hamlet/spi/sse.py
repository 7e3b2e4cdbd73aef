"""Server-sent events, read from bytes (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
from msgspec import Struct

from hamlet.core import errors
from hamlet.core.deprecation import warn_renamed
from hamlet.net.timers.timeouts import IdleTimeout
from hamlet.spi.http import Reply

MAX_EVENT_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
# Two line ends of any kind. Atomic: CRLF is never taken for a CR and a LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")


class Frame(Struct, frozen=True):
    """One event: its name ("" if none was given) and its data lines joined by newlines."""

    event: str
    data: bytes

    @property
    def json(self) -> Any:
        """The data as JSON. Raises UpstreamProtocol if it is not."""
        try:
            return orjson.loads(self.data)
        except orjson.JSONDecodeError:
            raise errors.UpstreamProtocol("an SSE event is not JSON", phase="stream") from None


async def sse(reply: Reply, idle_s: float | None = None) -> AsyncIterator[Frame]:
    """The events of a reply. Comments and empty events are skipped; LF, CRLF and CR end lines.

    Raises UpstreamProtocol if one event is over MAX_EVENT_BYTES or not UTF-8, UpstreamTimeout after
    `idle_s` seconds without a byte. The last event needs no blank line: some vendors omit it.
    """
    async for blocks in BlockStream(reply, idle_s):
        for block in blocks:
            if frame := parse_block(block):
                yield frame


class BlockStream:
    """The event blocks of a reply: a list for each network read, which may be empty.

    Raises UpstreamTimeout if nothing comes for `idle_s` seconds. An iterator rather than a
    generator: the event loop tracks asynchronous generators, which costs more than this class.
    """

    __slots__ = ("_chunks", "_ended", "_idle_timeout", "_reader")

    def __init__(self, reply: Reply, idle_s: float | None) -> None:
        self._chunks, self._reader = reply.chunks(), FrameReader()
        self._idle_timeout = IdleTimeout(math.inf if idle_s is None else idle_s)
        self._ended = False

    def __aiter__(self) -> BlockStream:
        return self

    async def __anext__(self) -> list[bytes]:
        if self._ended:
            raise StopAsyncIteration
        try:
            async with self._idle_timeout:
                chunk = await anext(self._chunks, b"")
        except BaseException:
            self._idle_timeout.stop()
            raise
        if chunk:
            self._idle_timeout.reset()
            return self._reader.feed(chunk)
        self._idle_timeout.stop()
        self._ended = True
        return [rest] if (rest := self._reader.flush()) else []


def require_event_stream(reply: Reply) -> None:
    """Raise UpstreamProtocol for a reply that is no event stream, such as a proxy's login page."""
    if not reply.headers.get("content-type", "").startswith("text/event-stream"):
        raise errors.UpstreamProtocol("the upstream's answer is not an event stream")


class FrameReader:
    """Cuts a byte stream into event blocks, each with its closing blank line."""

    __slots__ = ("_at_start", "_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The blocks that `chunk` completes, byte for byte (a leading BOM is dropped)."""
        buffer = self._buffer
        buffer += chunk
        if self._at_start and len(buffer) >= len(_BOM):
            self._at_start = False
            if buffer.startswith(_BOM):
                del buffer[: len(_BOM)]
        blocks, start = [], 0
        # A boundary may start in the last bytes of the previous chunk.
        for match in _BLANK_LINE.finditer(buffer, max(0, self._scanned - 3)):
            blocks.append(bytes(buffer[start : match.end()]))
            start = match.end()
        del buffer[:start]
        self._scanned = len(buffer)
        if max(map(len, blocks), default=0) > MAX_EVENT_BYTES or len(buffer) > MAX_EVENT_BYTES:
            raise errors.UpstreamProtocol("an SSE event is over 1 MB", phase="stream")
        return blocks

    def flush(self) -> bytes:
        """The bytes after the last blank line, as a block of their own; b"" if there are none."""
        remainder, self._buffer = bytes(self._buffer), bytearray()
        return remainder + b"\n\n" if remainder.strip() else b""

    def rest(self) -> bytes:
        """The name of `flush` in the release before."""
        warn_renamed("FrameReader.rest", "flush")
        return self.flush()


def parse_block(block: bytes) -> Frame | None:
    """The event in a block; None for comments only. Raises UpstreamProtocol if not UTF-8."""
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            raise errors.UpstreamProtocol("an SSE event is not UTF-8", phase="stream") from None
    event, data = "", []
    for line in block.splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(event, b"\n".join(data)) if data else None
