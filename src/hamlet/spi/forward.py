"""The shared half of the fast lane: forwards the event blocks of each network read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from hamlet.core import NativeChunk
from hamlet.core.deprecation import warn_renamed
from hamlet.spi.http import Reply
from hamlet.spi.sse import BlockStream


class Forwarder:
    """Inspects each event block of a native stream. An adapter overrides `on_block`.

    `on_block` calls `emit` for every block to forward, puts what it learns into `chunk_fields`
    (fields of NativeChunk), and sets `ended` once the vendor has ended the stream.
    """

    __slots__ = ("_frames", "chunk_fields", "ended")

    def __init__(self) -> None:
        self.chunk_fields: dict[str, Any] = {}
        self.ended = False
        self._frames: list[bytes] = []

    def on_block(self, block: bytes) -> None:
        """Inspect one event block. Raises ProviderError for an error inside the stream."""
        self.emit(block)

    def emit(self, block: bytes) -> None:
        """Forward a block."""
        self._frames.append(block)

    def final_chunk(self) -> NativeChunk | None:
        """What to add for a vendor that closes without its own end, if anything."""
        return None

    def pop_chunk(self) -> NativeChunk | None:
        """What has been emitted and learned since the last call, if anything."""
        if not self._frames and not self.chunk_fields:
            return None
        chunk = NativeChunk(b"".join(self._frames), **self.chunk_fields)
        self._frames, self.chunk_fields = [], {}
        return chunk

    # -- names of the release before

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old, new in (("look", "on_block"), ("closing", "final_chunk")):
            if old in cls.__dict__ and new not in cls.__dict__:
                warn_renamed(f"Forwarder.{old}", new)
                setattr(cls, new, cls.__dict__[old])

    def look(self, block: bytes) -> None:
        # Reached by super().look(): on_block would be the override that calls it.
        self.emit(block)

    def closing(self) -> NativeChunk | None:
        return None

    def keep(self, block: bytes) -> None:
        warn_renamed("Forwarder.keep", "emit")
        self.emit(block)

    def take(self) -> NativeChunk | None:
        warn_renamed("Forwarder.take", "pop_chunk")
        return self.pop_chunk()

    @property
    def seen(self) -> dict[str, Any]:
        warn_renamed("Forwarder.seen", "chunk_fields")
        return self.chunk_fields


async def forward(
    reply: Reply, forwarder: Forwarder, idle_s: float | None = None
) -> AsyncGenerator[NativeChunk, None]:
    """One chunk per network read, until the vendor ends the stream or the connection closes.

    Raises UpstreamTimeout after `idle_s` seconds without a byte.
    """
    async for blocks in BlockStream(reply, idle_s):
        try:
            for block in blocks:
                forwarder.on_block(block)
            # A paused reader must not keep these blocks in memory.
            blocks, block = [], b""
        finally:
            # The caller still gets what came before an error in the same read.
            if chunk := forwarder.pop_chunk():
                yield chunk
        if forwarder.ended:
            return
    if chunk := forwarder.final_chunk():
        yield chunk
