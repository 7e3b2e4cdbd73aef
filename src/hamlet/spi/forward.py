"""The fast lane's common half: gather the frames of each network read, and pass them on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from hamlet.core import NativeChunk
from hamlet.spi.http import Reply
from hamlet.spi.sse import BlockStream


class Forwarder:
    """Looks at each frame of a native stream. An adapter derives its own `look`.

    `look` calls `keep` for every frame to forward, sets what it learned in `seen` (fields of
    NativeChunk), and `ended` once the vendor said that the stream is whole.
    """

    __slots__ = ("_frames", "chunk_fields", "ended")

    def __init__(self) -> None:
        self.chunk_fields: dict[str, Any] = {}
        self.ended = False
        self._frames: list[bytes] = []

    def on_block(self, block: bytes) -> None:
        """Look at one event block. Raises ProviderError for an error inside the stream."""
        self.emit(block)

    def emit(self, block: bytes) -> None:
        """Forward a block."""
        self._frames.append(block)

    def final_chunk(self) -> NativeChunk | None:
        """What is to be said for a vendor who ended without saying so, if anything."""
        return None

    def pop_chunk(self) -> NativeChunk | None:
        """What was kept and seen since the last time, if anything."""
        if not self._frames and not self.chunk_fields:
            return None
        chunk = NativeChunk(b"".join(self._frames), **self.chunk_fields)
        self._frames, self.chunk_fields = [], {}
        return chunk


async def forward(
    reply: Reply, forwarder: Forwarder, idle_s: float | None = None
) -> AsyncGenerator[NativeChunk, None]:
    """One chunk per network read, until the vendor's end or the connection's.

    Raises UpstreamTimeout after `idle_s` seconds without a byte.
    """
    async for blocks in BlockStream(reply, idle_s):
        try:
            for block in blocks:
                forwarder.on_block(block)
            # While the reader stands still, nothing is to be here but what it reads next.
            blocks, block = [], b""
        finally:
            # What came before a fault in the same read is still the caller's.
            if chunk := forwarder.pop_chunk():
                yield chunk
        if forwarder.ended:
            return
    if chunk := forwarder.final_chunk():
        yield chunk
