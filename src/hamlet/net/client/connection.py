"""One HTTP/1.1 connection: one exchange at a time, with read flow control and one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from hamlet.core import errors
from hamlet.core.errors import Phase, ProviderError
from hamlet.net.client.response_parser import ResponseParser
from hamlet.net.timers.lazy_timer import LazyTimer
from hamlet.net.timers.timer_wheel import running_wheel

# What may wait per stream while its reader is slow: this, and what one more read brings.
_HIGH_WATER_BYTES, _LOW_WATER_BYTES = 4 << 10, 2 << 10
# Loops read up to 256 KB at a time into a buffer of their own, which 2,000 readers that stand still
# would each keep; what is not read waits in the kernel.
READ_BYTES = 4 << 10
_LINGER_S, _MAX_LINGER_BYTES = 0.25, 64 << 10
_MAX_COALESCE_BYTES = 64 << 10

ConnectionCallback = Callable[["Connection"], None]


class Connection(LazyTimer, asyncio.BufferedProtocol):
    """A connection to one upstream. `ask` begins an exchange, `finish` or `abort` ends it.

    `on_idle` is told when it may serve another exchange, `on_lost` when it is gone, once. The
    one timer is re-armed lazily: while somebody waits it bounds the silence, else the idleness.
    `room` is what reads go into; connections may share it, as it is emptied at once.
    """

    __slots__ = (
        "_awaiting_first_byte",
        "_busy",
        "_error",
        "_idle_timeout_s",
        "_keepalive_s",
        "_lingering",
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
        on_idle: ConnectionCallback,
        on_lost: ConnectionCallback,
        read_buffer: memoryview,
    ) -> None:
        super().__init__(running_wheel())
        self._read_buffer = read_buffer
        self.response = ResponseParser()
        self.request_count = 0
        self._idle_timeout_s, self._keepalive_s = idle_timeout_s, keepalive_s
        self._on_idle, self._on_lost = on_idle, on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: ProviderError | None = None
        self._busy = self._lingering = self._paused = False
        self._awaiting_first_byte = True

    # -- for the pool

    @property
    def is_lost(self) -> bool:
        """Whether it was lost."""
        return self._transport is None

    @property
    def is_usable(self) -> bool:
        """Whether it can serve an exchange, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def start_idling(self) -> None:
        """Begin to idle."""
        self.set_timeout(self._keepalive_s)

    def abort(self) -> None:
        """Close now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # -- for one exchange

    @property
    def was_stale(self) -> bool:
        """Whether it had served before and ended without a byte of an answer to this exchange."""
        return self.request_count > 1 and self._awaiting_first_byte and self._transport is None

    async def send_request(self, head: bytes, body: bytes, *, no_body: bool = False) -> None:
        """Send a request and wait for the head of its answer. Raises ProviderError."""
        self.response.reset(no_body=no_body)
        self._busy, self._awaiting_first_byte, self._error = True, True, None
        self.request_count += 1
        if self._transport is None:
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
        """The body, if all of it is here and it has at most `most` bytes."""
        response = self.response
        if not response.complete or self._error is not None or response.buffered_bytes > max_bytes:
            return None
        return response.pop_body(response.buffered_bytes)

    @property
    def is_exhausted(self) -> bool:
        """Whether the answer has ended and all of its body was given out."""
        return self.response.complete and not self.response.body_parts and self._error is None

    async def next_chunk(self) -> bytes:
        """What came of the body since the last time, at least a byte.

        What came before a fault is given first. Raises ProviderError, and StopAsyncIteration at
        the end.
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
        """End the exchange. If the answer is all but over, the connection waits for its end."""
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
        # uvloop's TLS transport is one by shape alone.
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(self._read_buffer[:nbytes])

    def _receive(self, data: memoryview) -> None:
        self._awaiting_first_byte = False
        response = self.response
        if not self._busy:
            # Nothing was asked: whatever this is, it answers nothing.
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

    # -- inside

    def _wait_for_data(self) -> asyncio.Future[None]:
        """What is awaited until something has come. Raises ProviderError."""
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
        """Go back to the pool, or close if another exchange cannot follow this one."""
        self._busy = self._lingering = False
        transport = self._transport
        if transport is None:
            return
        # An answer before the request was all sent leaves the two sides out of step.
        if not self.response.keeps_alive or self._error or transport.get_write_buffer_size():
            return self.abort()
        if self.response.body_parts:
            self.response.discard_body()
        if self._paused:
            self._resume_reading()
        self.set_timeout(self._keepalive_s)
        self._on_idle(self)

    def _check_linger(self) -> None:
        if self.response.complete:
            self._release_or_close()
        elif self._error is not None or self.response.buffered_bytes > _MAX_LINGER_BYTES:
            self.abort()

    def _fail_protocol(self) -> None:
        """The upstream broke the protocol: what it sent may be less or more than it meant."""
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
