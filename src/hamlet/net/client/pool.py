"""The connections to one origin: last in, first out, so that those not needed grow old."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from hamlet.core.errors import ProviderError
from hamlet.net.client.connection import READ_BYTES, Connection
from hamlet.net.client.dial import Origin, dial
from hamlet.net.client.settings import ClientSettings

# A handshake is some 1.7 ms of the loop, for which every open stream waits: a storm of them must
# leave gaps. Over a real network's round trips this still opens about a hundred a second.
MAX_HANDSHAKES = 32


class Levels(NamedTuple):
    """Connections as they are now, and how many requests waited for one how long since the start.

    Times are seconds; a wait counts when it has ended.
    """

    busy: int = 0
    idle: int = 0
    opening: int = 0
    waiting: int = 0
    waits: int = 0
    waited_s: float = 0.0

    def plus(self, other: Levels) -> Levels:
        """Those of both."""
        return Levels(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[arg-type]


class Pool:
    """At most `max_connections` to one origin; those who find none free wait their turn."""

    def __init__(self, origin: Origin, settings: ClientSettings) -> None:
        self._origin = origin
        self._settings = settings
        self._waits, self._waited_s = 0, 0.0
        self._free: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self._room = memoryview(bytearray(READ_BYTES))

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection of one's own, until it is idle or lost. Raises ProviderError.

        `fresh` passes over those that idle: where one was stale, others may be.
        """
        while self._free and not fresh:
            connection = self._free.pop()
            if connection.usable:
                return connection
        while not self._may_connect():
            handed = await self._turn()
            if handed is not None and handed.usable:
                return handed
        return await self._connect()

    async def warm(self, count: int) -> None:
        """Open connections until there are `count`; give up at the first failure."""
        missing = max(0, min(count, MAX_HANDSHAKES) - len(self._open) - self._connecting)
        opening = (self._connect() for _ in range(missing))
        for connection in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(connection, Connection) and connection.usable:
                connection.rest()
                self._idle(connection)

    def levels(self) -> Levels:
        """What it has, and who waits."""
        idle = len(self._free)
        waiting = sum(not waiter.done() for waiter in self._waiters)
        busy = len(self._open) - idle
        return Levels(busy, idle, self._connecting, waiting, self._waits, self._waited_s)

    def close(self) -> None:
        """Close everything, also what is under way."""
        self._closed = True
        self._free.clear()
        for connection in list(self._open):
            connection.abort()

    def _may_connect(self) -> bool:
        opened = len(self._open) + self._connecting
        return self._connecting < MAX_HANDSHAKES and opened < self._settings.max_connections

    async def _connect(self) -> Connection:
        self._connecting += 1
        try:
            connection = await self._dial()
        except ProviderError as failure:
            self._fail(failure)
            raise
        else:
            if not connection.gone:
                self._open.add(connection)
        finally:
            self._connecting -= 1
            self._next()
        if self._closed:
            connection.abort()
        return connection

    async def _dial(self) -> Connection:
        settings = self._settings

        def protocol() -> Connection:
            waits = settings.idle_timeout_s, settings.keepalive_s
            return Connection(*waits, self._idle, self._lost, self._room)

        return await dial(self._origin, protocol, settings.connect_timeout_s)

    async def _turn(self) -> Connection | None:
        """Wait until a connection is handed over, or one may be opened (None)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiters.append(waiter)
        began = loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            # What was handed over in the same moment is for the next in line.
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                handed = waiter.result()
                self._idle(handed) if handed is not None else self._next()
            raise
        finally:
            self._waits += 1
            self._waited_s += loop.time() - began

    def _idle(self, connection: Connection) -> None:
        waiter = self._first_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._free.append(connection)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        self._next()

    def _next(self) -> None:
        if self._waiters and self._may_connect():
            waiter = self._first_waiter()
            if waiter is not None:
                waiter.set_result(None)

    def _fail(self, failure: ProviderError) -> None:
        """Those who wait for a handshake share this one's failure: theirs would be no other."""
        if not self._open:
            while (waiter := self._first_waiter()) is not None:
                waiter.set_exception(failure)

    def _first_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None
