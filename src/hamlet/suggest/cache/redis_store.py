"""A cache store in Redis, shared by processes (needs the extra `redis`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from hamlet.suggest.cache.swr_cache import StoredEntry

T = TypeVar("T")
_TIMEOUT_S = 0.25
_RETRY_AFTER_S = 5.0
_UNLINK_BATCH = 500


class RedisStore(Generic[T]):
    """Entries as JSON under a key prefix. After an error, Redis is left alone for 5 s."""

    def __init__(
        self, url: str, prefix: str, item_type: Any, clock: Callable[[], float] = time.time
    ) -> None:
        """`item_type` is the type of one item, which msgspec must be able to decode."""
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self._redis = Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._errors = (RedisError, OSError, TimeoutError, msgspec.MsgspecError)
        self._prefix = f"hamlet:{prefix}:"
        self._decoder = msgspec.json.Decoder(tuple[float, float, float, list[item_type]])
        self._clock = clock
        self._retry_at = 0.0

    async def get(self, key: str) -> StoredEntry[T] | None:
        data = await self._try_command(lambda: self._redis.get(self._prefix + key))
        if data is None:
            return None
        try:
            stored_at, fresh, stale, items = self._decoder.decode(data)
        except msgspec.MsgspecError:
            return None
        now = self._clock()
        return StoredEntry(items, max(0.0, now - stored_at), fresh - now, stale - now)

    async def put(self, key: str, entry: StoredEntry[T]) -> None:
        now = self._clock()
        row = (now - entry.age_s, now + entry.fresh_s, now + entry.stale_s, entry.items)
        data = msgspec.json.encode(row)
        ttl_ms = max(1, int(entry.stale_s * 1000))
        await self._try_command(lambda: self._redis.set(self._prefix + key, data, px=ttl_ms))

    async def clear(self) -> None:
        await self._try_command(self._clear)

    async def _clear(self) -> None:
        keys: list[Any] = []
        async for key in self._redis.scan_iter(f"{self._prefix}*", count=_UNLINK_BATCH):
            keys.append(key)
            if len(keys) == _UNLINK_BATCH:
                await self._redis.unlink(*keys)
                keys.clear()
        if keys:
            await self._redis.unlink(*keys)

    async def _try_command(self, command: Callable[[], Any]) -> Any:
        if self._clock() < self._retry_at:
            return None
        try:
            return await command()
        except self._errors:
            self._retry_at = self._clock() + _RETRY_AFTER_S
            return None

    async def aclose(self) -> None:
        await self._redis.aclose()
