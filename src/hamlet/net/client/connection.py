"""One HTTP/1.1 connection: one exchange at a time, with read flow control and one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from hamlet.core import errors
from hamlet.core.errors import Phase, ProviderError
from hamlet.net.client.parser import AnswerParser
from hamlet.net.timers.wheel import running_wheel

# What may wait per stream while its reader is slow: this, and what one more read brings.
_HIGH_BYTES, _LOW_BYTES = 4 << 10, 2 << 10
# Loops read up to 256 KB at a time into a buffer of their own, which 2,000 readers that stand still
# would each keep; what is not read waits in the kernel.
READ_BYTES = 4 << 10
_LINGER_S, _LINGER_BYTES = 0.25, 64 << 10
_JOIN_BYTES = 64 << 10

Notice = Callable[["Connection"], None]


class Connection(asyncio.BufferedProtocol):
    """A connection to one upstream. `ask` begins an exchange, `finish` or `abort` ends it.

    `on_idle` is told when it may serve another exchange, `on_lost` when it is gone, once. The
    one timer is re-armed lazily: while somebody waits it bounds the silence, else the idleness.
    `room` is what reads go into; connections may share it, as it is emptied at once.
    """

    __slots__ = (
        "_busy", "_due", "_error", "_idle_timeout_s", "_keepalive_s", "_lingering", "_on_idle",
        "_on_lost", "_paused", "_rings_at", "_room", "_slot", "_transport", "_untouched",
        "_waiter", "_wheel", "answer", "served",
    )  # fmt: skip

    def __init__(
        self,
        idle_timeout_s: float,
        keepalive_s: float,
        on_idle: Notice,
        on_lost: Notice,
        room: memoryview,
    ) -> None:
        self._room = room
        self.answer = AnswerParser()
        self.served = 0
        self._idle_timeout_s, self._keepalive_s = idle_timeout_s, keepalive_s
        self._on_idle, self._on_lost = on_idle, on_lost
        self._wheel = running_wheel()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: ProviderError | None = None
        self._busy = self._lingering = self._paused = False
        self._untouched = True
        self._slot: int | None = None
        self._due = self._rings_at = 0.0

    # -- for the pool

    @property
    def gone(self) -> bool:
        """Whether it was lost."""
        return self._transport is None

    @property
    def usable(self) -> bool:
        """Whether it can serve an exchange, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def rest(self) -> None:
        """Begin to idle."""
        self._watch(self._keepalive_s)

    def abort(self) -> None:
        """Close now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # -- for one exchange

    @property
    def was_stale(self) -> bool:
        """Whether it had served before and ended without a byte of an answer to this exchange."""
        return self.served > 1 and self._untouched and self._transport is None

    async def ask(self, head: bytes, body: bytes, *, bare: bool = False) -> None:
        """Send a request and wait for the head of its answer. Raises ProviderError."""
        self.answer.begin(bare=bare)
        self._busy, self._untouched, self._error = True, True, None
        self.served += 1
        if self._transport is None:
            raise self._lost()
        if len(body) > _JOIN_BYTES:
            self._transport.writelines((head, body))
        else:
            self._transport.write(head + body)
        try:
            while not self.answer.has_head:
                await self._more()
        except BaseException:
            self.abort()
            raise

    def whole(self, most: int) -> bytes | None:
        """The body, if all of it is here and it has at most `most` bytes."""
        answer = self.answer
        if not answer.complete or self._error is not None or answer.buffered > most:
            return None
        return answer.take(answer.buffered)

    @property
    def is_read(self) -> bool:
        """Whether the answer has ended and all of its body was given out."""
        return self.answer.complete and not self.answer.parts and self._error is None

    async def next(self) -> bytes:
        """What came of the body since the last time, at least a byte.

        What came before a fault is given first. Raises ProviderError, and StopAsyncIteration at
        the end.
        """
        answer = self.answer
        while not answer.parts:
            if self.is_read:
                raise StopAsyncIteration
            await self._more()
        data = answer.take(_HIGH_BYTES)
        if self._paused:
            self._resume()
        return data

    def finish(self) -> None:
        """End the exchange. If the answer is all but over, the connection waits for its end."""
        if self.answer.complete:
            self._settle()
        elif self._error is not None or self._transport is None:
            self.abort()
        else:
            self._lingering = True
            self.answer.drop()
            if self._paused:
                self._resume()
            self._watch(_LINGER_S)

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport is one by shape alone.
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(self._room[:nbytes])

    def _receive(self, data: memoryview) -> None:
        self._untouched = False
        answer = self.answer
        if not self._busy:
            # Nothing was asked: whatever this is, it answers nothing.
            return self.abort()
        try:
            answer.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse()
        if self._lingering:
            return self._linger()
        if answer.buffered > _HIGH_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if answer.has_head or self._error is not None:
            self._wake()
        else:
            self._watch(self._idle_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._slot is not None:
            self._wheel.unset(self._slot, self)
            self._slot = None
        if self._busy and not self.answer.complete and self._error is None:
            if exc is None and self.answer.ends_with_connection():
                self.answer.complete = True
            else:
                self._error = self._lost()
        self._wake()
        self._on_lost(self)

    # -- inside

    def _more(self) -> asyncio.Future[None]:
        """What is awaited until something has come. Raises ProviderError."""
        if self._error is not None:
            raise self._error
        self._waiter = self._wheel.loop.create_future()
        self._watch(self._idle_timeout_s)
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _resume(self) -> None:
        if self.answer.buffered < _LOW_BYTES and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _settle(self) -> None:
        """Go back to the pool, or close if another exchange cannot follow this one."""
        self._busy = self._lingering = False
        transport = self._transport
        if transport is None:
            return
        # An answer before the request was all sent leaves the two sides out of step.
        if not self.answer.keeps_alive or self._error or transport.get_write_buffer_size():
            return self.abort()
        if self.answer.parts:
            self.answer.drop()
        if self._paused:
            self._resume()
        self._watch(self._keepalive_s)
        self._on_idle(self)

    def _linger(self) -> None:
        if self.answer.complete:
            self._settle()
        elif self._error is not None or self.answer.buffered > _LINGER_BYTES:
            self.abort()

    def _refuse(self) -> None:
        """The upstream broke the protocol: what it sent may be less or more than it meant."""
        message = "the upstream does not speak proper HTTP"
        self._error = errors.UpstreamProtocol(message, phase=self._phase())
        self.abort()

    def _lost(self) -> ProviderError:
        message = (
            "the upstream broke off its answer"
            if self.answer.has_head
            else "the connection to the upstream was lost"
        )
        return errors.UpstreamUnavailable(message, phase=self._phase())

    def _phase(self) -> Phase:
        return "stream" if self.answer.has_head else "open"

    def _watch(self, within_s: float) -> None:
        self._due = self._wheel.loop.time() + within_s
        if self._slot is None or self._due < self._rings_at:
            self._arm(self._due)

    def _arm(self, at: float) -> None:
        if self._slot is not None:
            self._wheel.unset(self._slot, self)
        self._rings_at = at
        self._slot = self._wheel.set(at, self)

    def ring(self) -> None:
        now = self._wheel.loop.time()
        # One that was cancelled is still here, and done.
        waits = self._waiter is not None and not self._waiter.done()
        if now < self._due:
            self._arm(self._due)
        elif self._busy and not self._lingering and not waits:
            # Whoever asked is slow to read: that is no silence of the upstream's.
            self._arm(now + self._idle_timeout_s)
        else:
            if waits:
                message = "the upstream fell silent"
                self._error = errors.UpstreamTimeout(message, phase=self._phase())
                self._wake()
            self.abort()
