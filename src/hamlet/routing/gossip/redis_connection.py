"""A connection to Redis that is discarded after its first failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

CONNECT_TIMEOUT_S = 0.25
_POLL_TIMEOUT_S = 1.0
Command = tuple[str | bytes | int, ...]


class RedisConnection:
    """Commands and one subscription, each for one task. Needs the extra `redis`.

    The reply to a cancelled or timed-out command may arrive late, and be taken for the reply to the
    next one (https://github.com/redis/redis-py/issues/2624, .../2665): after any failure `execute`
    raises, and a new connection is needed.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """Opens no connection yet. `timeout_s` bounds each `execute`."""
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._timeout_s = timeout_s
        self._redis = Redis.from_url(
            url,
            socket_timeout=CONNECT_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        self._pubsub = self._redis.pubsub()
        self._is_usable = False

    async def open(self, channel: str) -> None:
        """Connect and subscribe. Raises what redis-py does, or TimeoutError."""
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
            await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
            await self._pubsub.subscribe(channel)
            confirmed = await self._pubsub.get_message(timeout=CONNECT_TIMEOUT_S)
        self._is_usable = confirmed is not None

    async def execute(self, *commands: Command, timeout_s: float | None = None) -> list[Any]:
        """The replies, in order. Raises what redis-py does, TimeoutError or ConnectionError."""
        if not self._is_usable:
            raise ConnectionError("this connection has failed, or is in use")
        self._is_usable = False
        async with asyncio.timeout(timeout_s or self._timeout_s):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute()
        self._is_usable = True
        return replies

    async def messages(self) -> AsyncIterator[bytes]:
        """Published messages as they arrive; b"" from time to time when there are none."""
        while True:
            message = await self._pubsub.get_message(True, timeout=_POLL_TIMEOUT_S)
            # A backlog is read from the buffer without waiting: yield to other tasks.
            await asyncio.sleep(0)
            yield message["data"] if message else b""

    async def aclose(self) -> None:
        """Close the connections; raises nothing."""
        self._is_usable = False
        with suppress(Exception):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        with suppress(Exception):
            await self._redis.aclose()
