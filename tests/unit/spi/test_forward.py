"""The forwarder of the fast lane."""

import pytest

from hamlet.core import NativeChunk, errors
from hamlet.spi import (
    Forwarder,
    ProviderSettings,
    forward,
)
from hamlet.testing import sse_reply


async def test_stream_without_explicit_end(upstream, host) -> None:
    class Quiet(Forwarder):
        def on_block(self, block: bytes) -> None:
            if b"a" in block:
                self.emit(block)

    upstream.reply(sse_reply([b"data: a\n\n", b": x\n\n"], pause_s=0.02))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        assert [chunk.data async for chunk in forward(reply, Quiet())] == [b"data: a\n\n"]


async def test_frames_before_an_error_in_the_same_read_are_forwarded(upstream, host) -> None:
    class Picky(Forwarder):
        def on_block(self, block: bytes) -> None:
            if b"bad" in block:
                raise errors.Overloaded("bad")
            super().on_block(block)

    upstream.reply(sse_reply([b"data: a\n\ndata: bad\n\n"]))
    http = host.http(ProviderSettings(base_url=upstream.url))
    seen: list[NativeChunk] = []
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.Overloaded):
            async for chunk in forward(reply, Picky()):
                seen.append(chunk)
    assert [chunk.data for chunk in seen] == [b"data: a\n\n"]
