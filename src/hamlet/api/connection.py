"""One client's connection, with the limits that uvicorn does not have."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from hamlet.api.hot import request_id_of
from hamlet.api.openai.errors import error_body
from hamlet.api.presence import EXTENSION, Presence
from hamlet.core.errors import BadRequest

MAX_HEAD_BYTES, MAX_HEADERS = 64 << 10, 200
_UNSENT_BYTES = 8 << 10
# <linux/tcp.h>; Python 3.11 does not name it.
_TCP_NOTSENT_LOWAT = 25
_LOOKS = 4
_SPARE_FILES = 32
_MANY_CLIENTS, _EBB_S = 200, 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a client, in seconds: for a request's head, and for it to read on."""

    head_s: float = 10.0
    reader_stall_s: float = 30.0


def guarded(patience: Patience) -> Callable[..., asyncio.Protocol]:
    """What uvicorn takes as its `http`."""
    return functools.partial(GuardedProtocol, patience=patience, tide=Tide())


def most_connections() -> int:
    """How many clients the limit on open files allows, each with an upstream of its own.

    Lifts that limit as far as the system lets us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(8, (hard - _SPARE_FILES) // 2)


class Tide:
    """Gives memory back to the system when most of many clients have gone.

    What thousands of streams held is free then, but malloc keeps it. What Python's own allocator
    keeps, scattered over its arenas, stays: docs/results/2026-11-25-fleet.md, G8.
    """

    def __init__(self) -> None:
        self._open = self._high = 0

    def came(self) -> None:
        """A client connected."""
        self._open += 1
        self._high = max(self._high, self._open)

    def went(self, loop: asyncio.AbstractEventLoop) -> None:
        """A client is gone."""
        self._open -= 1
        if self._high >= _MANY_CLIENTS and self._open < self._high // 4:
            self._high = self._open
            loop.call_later(_EBB_S, loop.run_in_executor, None, _give_back)


def _give_back() -> None:
    # A finished call leaves cycles, and where nothing is made nothing is collected either.
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a bounded head, and an end to waiting.

    A head must come within `head_s`, in MAX_HEAD_BYTES and MAX_HEADERS. A client that takes no
    byte for `reader_stall_s` while there are some is cut off, which ends its upstream call too.
    """

    # uvicorn's 28 attributes and these would be too many for one table of names shared by all.
    __slots__ = (
        "_extensions", "_head_bytes", "_head_timer", "_in_head", "_moved_at", "_patience",
        "_presence", "_stall_timer", "_tide", "_too_large", "_unsent",
    )  # fmt: skip

    def __init__(self, *uvicorn: Any, patience: Patience, tide: Tide, **more: Any) -> None:
        super().__init__(*uvicorn, **more)
        self._tide = tide
        self._patience = patience
        self._in_head = True
        self._head_bytes = 0
        self._too_large = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent, self._moved_at = 0, 0.0
        self._presence = Presence()
        self._extensions: dict[str, dict[object, object]] = {EXTENSION: {"client": self._presence}}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._tide.came()
        transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        _tune(transport.get_extra_info("socket"))
        self._head_timer = self.loop.call_later(self._patience.head_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._tide.went(self.loop)
        self._presence.lost()
        super().connection_lost(exc)

    # -- the head

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._too_large = True
                self.send_400_response("the head of the request is too large")
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._patience.head_s, self._late)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._in_head, self._head_bytes = True, 0
        self._presence.sent_all = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._presence.sent_all = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._too_large = True
            raise ValueError("the head of the request is too large")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        status = 431 if self._too_large else 400
        self._say(status, error_body(BadRequest(msg), request_id_of({})))

    def _late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._say(408, error_body(BadRequest("the request came too slowly"), request_id_of({})))
        self.transport.close()

    def _say(self, status: int, body: bytes) -> None:
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()

    # -- the reader

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # Closing waits for what is not sent yet, which may be for ever.
        self._watch_reader()

    def _watch_reader(self) -> None:
        if self._stall_timer is None and self.transport.get_write_buffer_size():
            self._unsent, self._moved_at = 0, self.loop.time()
            self._look()

    def _look(self) -> None:
        unsent, now = self.transport.get_write_buffer_size(), self.loop.time()
        stall_s = self._patience.reader_stall_s
        if unsent != self._unsent:
            self._unsent, self._moved_at = unsent, now
        if now - self._moved_at >= stall_s:
            return self.transport.abort()
        self._stall_timer = self.loop.call_later(stall_s / _LOOKS, self._look)


def _tune(sock: socket.socket | None) -> None:
    """Send at once, and let little wait in the kernel for a client that does not read."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        # asyncio sets this on sockets that say they are TCP; what accept() gives says nothing.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
