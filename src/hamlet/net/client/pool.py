"""The connections to one origin: last in, first out, so that surplus ones reach their timeout."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from hamlet.core.errors import ProviderError
from hamlet.net.client.connection import READ_BYTES, Connection
from hamlet.net.client.dial import Origin, dial
from hamlet.net.client.settings import ClientSettings

# A TLS handshake blocks the loop for some 1.7 ms, and every open stream with it: a burst of them
# must leave gaps. With a real network's round trips this still opens about a hundred a second.
MAX_HANDSHAKES = 32


class PoolStats(NamedTuple):
    """The connections now, and since the start how many requests waited for one and how long.

    Times are seconds; a wait is counted when it ends.
    """

    busy: int = 0
    idle: int = 0
    opening: int = 0
    waiting: int = 0
    waits: int = 0
    waited_s: float = 0.0

    def plus(self, other: PoolStats) -> PoolStats:
        """The sum of both."""
        return PoolStats(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[arg-type]


class ConnectionPool:
    """At most `max_connections` to one origin; further requests queue, first in, first out."""

    def __init__(self, origin: Origin, settings: ClientSettings) -> None:
        self._origin = origin
        self._settings = settings
        self._wait_count, self._waited_s = 0, 0.0
        self._idle_connections: list[Connection] = []
        self._connections: set[Connection] = set()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self._read_buffer = memoryview(bytearray(READ_BYTES))

    async def acquire(self, *, fresh: bool = False) -> Connection:
        """A connection for the caller's exclusive use until it is idle or lost.

        `fresh` skips the idle ones: where one was stale, others may be. Raises ProviderError.
        """
        while self._idle_connections and not fresh:
            connection = self._idle_connections.pop()
            if connection.is_usable:
                return connection
        while not self._may_connect():
            handed = await self._wait_for_connection()
            if handed is not None and handed.is_usable:
                if not (fresh and handed.request_count):
                    return handed
                # One that was used may be as stale; its place is for a new one.
                handed.abort()
        return await self._connect()

    async def warm(self, count: int) -> None:
        """Open connections until there are `count`; give up at the first failure."""
        missing = max(0, min(count, MAX_HANDSHAKES) - len(self._connections) - self._connecting)
        opening = (self._connect() for _ in range(missing))
        for connection in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(connection, Connection) and connection.is_usable:
                connection.start_idling()
                self._on_idle(connection)

    def stats(self) -> PoolStats:
        """Counts of connections and of waiting requests."""
        idle = len(self._idle_connections)
        waiting = sum(not waiter.done() for waiter in self._waiters)
        busy = len(self._connections) - idle
        return PoolStats(busy, idle, self._connecting, waiting, self._wait_count, self._waited_s)

    def close(self) -> None:
        """Close all connections, also those with an exchange in flight."""
        self._closed = True
        self._idle_connections.clear()
        for connection in list(self._connections):
            connection.abort()

    def _may_connect(self) -> bool:
        opened = len(self._connections) + self._connecting
        return self._connecting < MAX_HANDSHAKES and opened < self._settings.max_connections

    async def _connect(self) -> Connection:
        self._connecting += 1
        try:
            connection = await self._dial()
        except ProviderError as failure:
            self._fail_waiters(failure)
            raise
        else:
            if not connection.is_lost:
                self._connections.add(connection)
        finally:
            self._connecting -= 1
            self._notify_next_waiter()
        if self._closed:
            connection.abort()
        return connection

    async def _dial(self) -> Connection:
        settings = self._settings

        def make_protocol() -> Connection:
            timeouts = (
                settings.idle_timeout_s, settings.keepalive_s, settings.max_connection_age_s
            )  # fmt: skip
            return Connection(*timeouts, self._on_idle, self._on_lost, self._read_buffer)

        return await dial(self._origin, make_protocol, settings.connect_timeout_s)

    async def _wait_for_connection(self) -> Connection | None:
        """Wait for a released connection, or for permission to open one (None)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiters.append(waiter)
        began = loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            # A connection that was handed over at the same moment goes to the next waiter.
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                handed = waiter.result()
                self._on_idle(handed) if handed is not None else self._notify_next_waiter()
            raise
        finally:
            self._wait_count += 1
            self._waited_s += loop.time() - began

    def _on_idle(self, connection: Connection) -> None:
        waiter = self._pop_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle_connections.append(connection)

    def _on_lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle_connections:
            self._idle_connections.remove(connection)
        self._notify_next_waiter()

    def _notify_next_waiter(self) -> None:
        if self._waiters and self._may_connect():
            waiter = self._pop_waiter()
            if waiter is not None:
                waiter.set_result(None)

    def _fail_waiters(self, failure: ProviderError) -> None:
        """Fail everybody who waits for a handshake: theirs would fail in the same way."""
        if not self._connections:
            while (waiter := self._pop_waiter()) is not None:
                waiter.set_exception(failure)

    def _pop_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None
