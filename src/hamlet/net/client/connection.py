"""One HTTP/1.1 connection: one exchange at a time, with read flow control and one timer."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import cast

import httptools

from hamlet.core import errors
from hamlet.core.errors import Phase, ProviderError
from hamlet.net.client.response_parser import ResponseParser
from hamlet.net.timers.lazy_timer import LazyTimer
from hamlet.net.timers.timer_wheel import running_wheel

# How much a stream may buffer while its reader is slow: this, and one more read.
_HIGH_WATER_BYTES, _LOW_WATER_BYTES = 4 << 10, 2 << 10
# By default a loop reads up to 256 KB at a time into a new buffer, which each of 2,000 stalled
# readers would keep; what is not read stays in the kernel.
READ_BYTES = 4 << 10
_LINGER_S, _MAX_LINGER_BYTES = 0.25, 64 << 10
_MAX_COALESCE_BYTES = 64 << 10
# A round trip to another continent: the end of a closed connection takes that long to come back.
_STALE_WITHIN_S = 0.5

ConnectionCallback = Callable[["Connection"], None]


class Connection(LazyTimer, asyncio.BufferedProtocol):
    """A connection to one upstream: `send_request` begins an exchange, `finish` or `abort` ends it.

    `on_idle` is called when it can serve another exchange, `on_lost` once, when it is closed. The
    timer bounds the upstream's silence (`idle_timeout_s`) while somebody waits for a response, and
    the time between exchanges (`keepalive_s`) otherwise. Reads go into `read_buffer`; connections
    may share it, since each read is parsed at once.
    """

    __slots__ = (
        "_awaiting_first_byte",
        "_busy",
        "_error",
        "_expires_at",
        "_idle_timeout_s",
        "_keepalive_s",
        "_lingering",
        "_max_age_s",
        "_on_idle",
        "_on_lost",
        "_paused",
        "_read_buffer",
        "_transport",
        "_waiter",
        "request_count",
        "response",
    )  # fmt: skip

    def __init__(
        self,
        idle_timeout_s: float,
        keepalive_s: float,
        max_age_s: float,
        on_idle: ConnectionCallback,
        on_lost: ConnectionCallback,
        read_buffer: memoryview,
    ) -> None:
        super().__init__(running_wheel())
        self._read_buffer = read_buffer
        self.response = ResponseParser()
        self.request_count = 0
        self._idle_timeout_s, self._keepalive_s = idle_timeout_s, keepalive_s
        self._max_age_s, self._expires_at = max_age_s, math.inf
        self._on_idle, self._on_lost = on_idle, on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: ProviderError | None = None
        self._busy = self._lingering = self._paused = False
        self._awaiting_first_byte = True

    # -- for the pool

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed."""
        return self._transport is None

    @property
    def is_usable(self) -> bool:
        """Whether it can serve an exchange, as far as this side knows."""
        return self._transport is not None and not self._transport.is_closing()

    def start_idling(self) -> None:
        """Start the timer for a connection that serves no exchange yet."""
        self.set_timeout(self._keepalive_s)

    def abort(self) -> None:
        """Close now, without waiting for the exchange."""
        if self._transport is not None:
            self._transport.abort()

    # -- for one exchange

    @property
    def was_stale(self) -> bool:
        """Whether it had served before and ended at once, without a byte of a response.

        Only then had the upstream closed it before this request came, so that sending the request
        again is safe (RFC 9110 section 9.2.2). One that ends later may have done the work first.
        """
        sent_at = self._due - self._idle_timeout_s
        return (
            self.request_count > 1
            and self._awaiting_first_byte
            and self._transport is None
            and self._wheel.loop.time() - sent_at < _STALE_WITHIN_S
        )

    async def send_request(self, head: bytes, body: bytes, *, no_body: bool = False) -> None:
        """Send a request and wait for the head of the response. Raises ProviderError."""
        self.response.reset(no_body=no_body)
        self._busy, self._awaiting_first_byte, self._error = True, True, None
        self.request_count += 1
        if self._transport is None:
            self._due = self._wheel.loop.time() + self._idle_timeout_s
            raise self._lost_error()
        if len(body) > _MAX_COALESCE_BYTES:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head + body)
        try:
            while not self.response.has_head:
                await self._wait_for_data()
        except BaseException:
            self.abort()
            raise

    def body_if_complete(self, max_bytes: int) -> bytes | None:
        """The body, if all of it has arrived and it has at most `max_bytes` bytes."""
        response = self.response
        if not response.complete or self._error is not None or response.buffered_bytes > max_bytes:
            return None
        return response.pop_body(response.buffered_bytes)

    @property
    def is_exhausted(self) -> bool:
        """Whether the response is complete and all of its body has been returned."""
        return self.response.complete and not self.response.body_parts and self._error is None

    async def next_chunk(self) -> bytes:
        """What has arrived of the body since the last call, at least a byte.

        What arrived before an error is returned first. Raises ProviderError, and
        StopAsyncIteration at the end.
        """
        response = self.response
        while not response.body_parts:
            if self.is_exhausted:
                raise StopAsyncIteration
            await self._wait_for_data()
        data = response.pop_body(_HIGH_WATER_BYTES)
        if self._paused:
            self._resume_reading()
        return data

    def finish(self) -> None:
        """End the exchange. If the end of the response is near, wait for it, to reuse this."""
        if self.response.complete:
            self._release_or_close()
        elif self._error is not None or self._transport is None:
            self.abort()
        else:
            self._lingering = True
            self.response.discard_body()
            if self._paused:
                self._resume_reading()
            self.set_timeout(_LINGER_S)

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport has the methods of a Transport but is no instance of it.
        self._transport = cast(asyncio.Transport, transport)
        # With jitter, so that connections opened together do not end together.
        age_s = self._max_age_s * random.uniform(0.75, 1.0)
        self._expires_at = self._wheel.loop.time() + age_s

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(self._read_buffer[:nbytes])

    def _receive(self, data: memoryview) -> None:
        self._awaiting_first_byte = False
        response = self.response
        if not self._busy:
            # No request is in flight: whatever this is, it is no response.
            return self.abort()
        try:
            response.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail_protocol()
        if self._lingering:
            return self._check_linger()
        if (
            response.buffered_bytes > _HIGH_WATER_BYTES
            and not self._paused
            and self._transport is not None
        ):
            self._paused = True
            self._transport.pause_reading()
        if response.has_head or self._error is not None:
            self._wake_waiter()
        else:
            self.set_timeout(self._idle_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.cancel_timeout()
        if self._busy and not self.response.complete and self._error is None:
            if exc is None and self.response.ends_with_connection():
                self.response.complete = True
            else:
                self._error = self._lost_error()
        self._wake_waiter()
        self._on_lost(self)

    # -- internal

    def _wait_for_data(self) -> asyncio.Future[None]:
        """A future that is done when something has arrived. Raises ProviderError."""
        if self._error is not None:
            raise self._error
        self._waiter = self._wheel.loop.create_future()
        self.set_timeout(self._idle_timeout_s)
        return self._waiter

    def _wake_waiter(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _resume_reading(self) -> None:
        if self.response.buffered_bytes < _LOW_WATER_BYTES and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _release_or_close(self) -> None:
        """Return to the pool, or close if no other exchange can follow this one."""
        self._busy = self._lingering = False
        transport = self._transport
        if transport is None:
            return
        # A response that came before the whole request was sent leaves the two sides out of step.
        if not self.response.keeps_alive or self._error or transport.get_write_buffer_size():
            return self.abort()
        if self.response.body_parts:
            self.response.discard_body()
        if self._paused:
            self._resume_reading()
        self.set_timeout(self._keepalive_s)
        if self._due - self._keepalive_s >= self._expires_at:
            return self.abort()
        self._on_idle(self)

    def _check_linger(self) -> None:
        if self.response.complete:
            self._release_or_close()
        elif self._error is not None or self.response.buffered_bytes > _MAX_LINGER_BYTES:
            self.abort()

    def _fail_protocol(self) -> None:
        """The upstream violated the protocol, so the response cannot be trusted to be whole."""
        message = "the upstream does not speak proper HTTP"
        self._error = errors.UpstreamProtocol(message, phase=self._phase())
        self.abort()

    def _lost_error(self) -> ProviderError:
        message = (
            "the upstream broke off its answer"
            if self.response.has_head
            else "the connection to the upstream was lost"
        )
        return errors.UpstreamUnavailable(message, phase=self._phase())

    def _phase(self) -> Phase:
        return "stream" if self.response.has_head else "open"

    def on_timeout(self) -> None:
        # A waiter that was cancelled is still set, and done.
        is_waiting = self._waiter is not None and not self._waiter.done()
        if self._busy and not self._lingering and not is_waiting:
            # The reader of the response is slow; the upstream is not silent.
            return self.set_timeout(self._idle_timeout_s)
        if is_waiting:
            message = "the upstream fell silent"
            self._error = errors.UpstreamTimeout(message, phase=self._phase())
            self._wake_waiter()
        self.abort()
