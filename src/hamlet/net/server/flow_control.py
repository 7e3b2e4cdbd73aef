"""Flow control of one client's connection."""

from __future__ import annotations

import asyncio
import socket
import struct

_CHECKS_PER_STALL = 4
_LINGER_ZERO = struct.pack("ii", 1, 0)


class FlowControl:
    """Reading that is paused while nobody takes what came, and writing that waits for the client.

    A client that takes no byte for `stall_s` while there are some is cut off, which ends its
    upstream call too.
    """

    __slots__ = (
        "_loop",
        "_progress_at",
        "_stall_s",
        "_stall_timer",
        "_transport",
        "_unsent_bytes",
        "_writable",
        "read_paused",
        "write_paused",
    )  # fmt: skip

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stall_s: float
    ) -> None:
        self._transport, self._loop, self._stall_s = transport, loop, stall_s
        self.read_paused = self.write_paused = False
        # An Event is 700 bytes: most connections never need one.
        self._writable: asyncio.Event | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes, self._progress_at = 0, 0.0

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
        self.watch_stall()

    def resume_writing(self) -> None:
        """The client has taken most of it, or has gone."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def wait_writable(self) -> None:
        """Wait until writing may go on."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()

    def watch_stall(self) -> None:
        """Cut the client off if it takes nothing of what waits for it, from now on."""
        if self._stall_timer is None and self._transport.get_write_buffer_size():
            self._unsent_bytes, self._progress_at = 0, self._loop.time()
            self._check_stall()

    def _check_stall(self) -> None:
        unsent_bytes, now = self._transport.get_write_buffer_size(), self._loop.time()
        if unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._progress_at = unsent_bytes, now
        if now - self._progress_at >= self._stall_s:
            return self._abort()
        self._stall_timer = self._loop.call_later(
            self._stall_s / _CHECKS_PER_STALL, self._check_stall
        )

    def _abort(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # Else the kernel keeps what is unsent and asks the client again, for minutes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()
