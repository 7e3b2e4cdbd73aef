"""A pool in Redis, shared by processes (the extra `redis`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from hamlet.suggest.swr_cache import Kept

T = TypeVar("T")
_WAIT_S = 0.25
_LEFT_ALONE_S = 5.0
_BATCH = 500


class RedisStore(Generic[T]):
    """Batches as JSON under a prefix. Redis in trouble is asked again some seconds later."""

    def __init__(
        self, url: str, prefix: str, kind: Any, clock: Callable[[], float] = time.time
    ) -> None:
        """`kind` is the type of one item."""
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self._redis = Redis.from_url(url, socket_timeout=_WAIT_S, socket_connect_timeout=_WAIT_S)
        self._errors = (RedisError, OSError, TimeoutError, msgspec.MsgspecError)
        self._prefix = f"hamlet:{prefix}:"
        self._decoder = msgspec.json.Decoder(tuple[float, float, float, list[kind]])
        self._clock = clock
        self._alone_until = 0.0

    async def get(self, key: str) -> Kept[T] | None:
        data = await self._try(lambda: self._redis.get(self._prefix + key))
        if data is None:
            return None
        try:
            made, fresh, stale, items = self._decoder.decode(data)
        except msgspec.MsgspecError:
            return None
        now = self._clock()
        return Kept(items, max(0.0, now - made), fresh - now, stale - now)

    async def put(self, key: str, kept: Kept[T]) -> None:
        now = self._clock()
        row = (now - kept.age_s, now + kept.fresh_s, now + kept.stale_s, kept.items)
        data = msgspec.json.encode(row)
        lasting = max(1, int(kept.stale_s * 1000))
        await self._try(lambda: self._redis.set(self._prefix + key, data, px=lasting))

    async def clear(self) -> None:
        await self._try(self._clear)

    async def _clear(self) -> None:
        keys: list[Any] = []
        async for key in self._redis.scan_iter(f"{self._prefix}*", count=_BATCH):
            keys.append(key)
            if len(keys) == _BATCH:
                await self._redis.unlink(*keys)
                keys.clear()
        if keys:
            await self._redis.unlink(*keys)

    async def _try(self, work: Callable[[], Any]) -> Any:
        if self._clock() < self._alone_until:
            return None
        try:
            return await work()
        except self._errors:
            self._alone_until = self._clock() + _LEFT_ALONE_S
            return None

    async def aclose(self) -> None:
        await self._redis.aclose()
