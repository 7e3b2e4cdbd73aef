"""One request's share in a gathering: what it may wait for, and what it got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hamlet.suggest.model import CacheState
from hamlet.suggest.swr_cache import CacheEntry, SwrCache

T = TypeVar("T")
L = TypeVar("L", bound=str)


@dataclass(frozen=True, slots=True)
class CachedFetch(Generic[T]):
    """A batch of a pool, and whether it was there before this request."""

    cache: SwrCache[T]
    key: str
    entry: CacheEntry[T]
    is_hit: bool
    allow_stale: bool = True

    @classmethod
    def start(
        cls,
        cache: SwrCache[T],
        key: str,
        fill: Callable[[list[T]], Awaitable[None]],
        *,
        allow_stale: bool = True,
    ) -> CachedFetch[T]:
        """Take what is fresh; else begin to gather, or join those who wait, over what is stale."""
        cached = cache.get(key)
        if cached is not None and cache.is_fresh(cached):
            return cls(cache, key, cached, is_hit=True, allow_stale=allow_stale)
        started = cache.fetch(key, fill)
        is_cached_usable = cached is not None and bool(cached.items) and not cached.is_partial
        entry = cached if is_cached_usable and cached is not None else started
        return cls(cache, key, entry, is_hit=False, allow_stale=allow_stale)

    @property
    def items(self) -> list[T]:
        """What of it may be shown."""
        entry = self.current_entry()
        is_fresh = entry.is_partial or self.cache.is_fresh(entry)
        return entry.items if is_fresh or self.allow_stale else []

    def cache_state(self) -> CacheState:
        """The cache's share in it."""
        entry = self.current_entry()
        origin = self._origin(entry)
        if origin == "live":
            return CacheState("miss")
        return CacheState(
            "hit" if origin == "cache" else "stale", round(self.cache.age_s(entry), 1)
        )

    def current_entry(self) -> CacheEntry[T]:
        """The batch as it is now."""
        return self.cache.get(self.key) or self.entry

    def tier(self, live: L) -> L | Literal["cache", "stale"]:
        """Where its items come from: `live` if they were gathered for this request."""
        origin = self._origin(self.current_entry())
        return live if origin == "live" else origin

    def _origin(self, entry: CacheEntry[T]) -> Literal["live", "cache", "stale"]:
        if entry.is_partial:
            return "live"
        if not self.cache.is_fresh(entry):
            return "stale"
        return "cache" if self.is_hit or entry.from_store else "live"

    def miss_reason(self) -> Literal["failed", "deadline", "rejected"]:
        """Why nothing of it could be shown."""
        entry = self.current_entry()
        if entry.failed:
            return "failed"
        return "deadline" if entry.is_fetching else "rejected"
