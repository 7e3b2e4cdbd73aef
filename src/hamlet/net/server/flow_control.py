"""Flow control of one client's connection."""

from __future__ import annotations

import asyncio
import socket
import struct

from hamlet.net.timers.timer_wheel import TimerWheel

_CHECKS_PER_STALL = 4
_LINGER_ZERO = struct.pack("ii", 1, 0)


class FlowControl:
    """Pauses reading while the application does not take the body, and writing while the client
    does not take the response.

    A client that takes no byte for `stall_s` seconds while some are unsent is disconnected, which
    ends its upstream call too.
    """

    __slots__ = (
        "_progress_at",
        "_stall_s",
        "_stall_slot",
        "_transport",
        "_unsent_bytes",
        "_wheel",
        "_writable",
        "read_paused",
        "write_paused",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, wheel: TimerWheel, stall_s: float) -> None:
        self._transport, self._wheel, self._stall_s = transport, wheel, stall_s
        self.read_paused = self.write_paused = False
        # An Event is 700 bytes, and most connections never need one.
        self._writable: asyncio.Event | None = None
        self._stall_slot: int | None = None
        self._unsent_bytes, self._progress_at = 0, 0.0

    def pause_reading(self) -> None:
        """Leave what the client sends in the kernel. Idempotent."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read what the client sends; only while `read_paused`."""
        self.read_paused = False
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The write buffer is above its high-water mark."""
        self.write_paused = True
        self.watch_stall()

    def resume_writing(self) -> None:
        """The write buffer has drained, or the client has disconnected."""
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._stall_slot is not None:
            self._wheel.cancel(self._stall_slot, self)
            self._stall_slot = None

    async def wait_writable(self) -> None:
        """Wait until writing is not paused."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()

    def watch_stall(self) -> None:
        """From now on, disconnect the client if it takes nothing of what is unsent."""
        if self._stall_slot is None and self._transport.get_write_buffer_size():
            self._unsent_bytes, self._progress_at = 0, self._wheel.loop.time()
            self.expire()

    def expire(self) -> None:
        """Check whether the client has taken anything since the last check."""
        self._stall_slot = None
        unsent_bytes, now = self._transport.get_write_buffer_size(), self._wheel.loop.time()
        if unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._progress_at = unsent_bytes, now
        if now - self._progress_at >= self._stall_s:
            return self._abort()
        self._stall_slot = self._wheel.schedule(now + self._stall_s / _CHECKS_PER_STALL, self)

    def _abort(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # Otherwise the kernel keeps what is unsent and probes the client for minutes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()
