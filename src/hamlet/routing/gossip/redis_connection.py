"""A connection to Redis that is used until its first trouble, and then never again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

CONNECT_S = 0.25
_POLL_S = 1.0
Command = tuple[str | bytes | int, ...]


class Link:
    """Commands and one subscription, for the use of one task each. Needs the extra `redis`.

    A cancelled or timed-out command may leave its answer behind, for the next one to take for its
    own (redis-py issues 2624 and 2665): after any trouble `ask` refuses, and a new link is needed.
    """

    def __init__(self, url: str, wait_s: float) -> None:
        """Opens no connection yet. `wait_s` is how long commands may take."""
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._wait_s = wait_s
        self._redis = Redis.from_url(
            url,
            socket_timeout=CONNECT_S,
            socket_connect_timeout=CONNECT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        self._pubsub = self._redis.pubsub()
        self._sound = False

    async def open(self, channel: str) -> None:
        """Connect and subscribe. Raises what redis-py does, or TimeoutError."""
        async with asyncio.timeout(2 * CONNECT_S):
            await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
            await self._pubsub.subscribe(channel)
            confirmed = await self._pubsub.get_message(timeout=CONNECT_S)
        self._sound = confirmed is not None

    async def ask(self, *commands: Command, wait_s: float | None = None) -> list[Any]:
        """The answers, in order. Raises what redis-py does, or TimeoutError."""
        if not self._sound:
            raise ConnectionError("the link has been in trouble, or is in use")
        self._sound = False
        async with asyncio.timeout(wait_s or self._wait_s):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute()
        self._sound = True
        return answers

    async def messages(self) -> AsyncIterator[bytes]:
        """What is published, as it comes; an empty one now and then when nothing is."""
        while True:
            message = await self._pubsub.get_message(True, timeout=_POLL_S)
            # A backlog is in the buffer already and waits for nothing: let calls have their turn.
            await asyncio.sleep(0)
            yield message["data"] if message else b""

    async def aclose(self) -> None:
        """Give up the connections; raises nothing."""
        self._sound = False
        with suppress(Exception):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        with suppress(Exception):
            await self._redis.aclose()
