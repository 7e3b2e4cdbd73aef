"""Flow control of one client's connection."""

from __future__ import annotations

import asyncio
import socket
import struct

_LOOKS = 4
_AT_ONCE = struct.pack("ii", 1, 0)


class Flow:
    """Reading that is paused while nobody takes what came, and writing that waits for the client.

    A client that takes no byte for `stall_s` while there are some is cut off, which ends its
    upstream call too.
    """

    __slots__ = (
        "_drained", "_loop", "_moved_at", "_stall_s", "_stall_timer", "_transport", "_unsent",
        "read_paused", "write_paused",
    )  # fmt: skip

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stall_s: float
    ) -> None:
        self._transport, self._loop, self._stall_s = transport, loop, stall_s
        self.read_paused = self.write_paused = False
        # An Event is 700 bytes: most connections never need one.
        self._drained: asyncio.Event | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent, self._moved_at = 0, 0.0

    def pause_reading(self) -> None:
        """Let what the client sends wait. May be said twice."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends, if that is `read_paused`."""
        self.read_paused = False
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Too much waits for the client."""
        self.write_paused = True
        self.watch()

    def resume_writing(self) -> None:
        """The client has taken most of it, or has gone."""
        self.write_paused = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def drained(self) -> None:
        """Wait until writing may go on."""
        while self.write_paused:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def watch(self) -> None:
        """Cut the client off if it takes nothing of what waits for it, from now on."""
        if self._stall_timer is None and self._transport.get_write_buffer_size():
            self._unsent, self._moved_at = 0, self._loop.time()
            self._look()

    def _look(self) -> None:
        unsent, now = self._transport.get_write_buffer_size(), self._loop.time()
        if unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        if now - self._moved_at >= self._stall_s:
            return self._cut()
        self._stall_timer = self._loop.call_later(self._stall_s / _LOOKS, self._look)

    def _cut(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # Else the kernel keeps what is unsent and asks the client again, for minutes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()
