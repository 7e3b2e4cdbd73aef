"""One request's view of a cache entry: which items it may show, and where they came from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hamlet.suggest.cache.swr_cache import CacheEntry, SwrCache
from hamlet.suggest.model import CacheState

T = TypeVar("T")
L = TypeVar("L", bound=str)


@dataclass(frozen=True, slots=True)
class CachedFetch(Generic[T]):
    """An entry of `cache`. `is_hit`: it was fresh when the request arrived."""

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
        """Use the fresh entry; else start or join a fetch, and use the stale entry until then."""
        cached = cache.get(key)
        if cached is not None and cache.is_fresh(cached):
            return cls(cache, key, cached, True, allow_stale)
        entry = cache.fetch(key, fill)
        if cached is not None and cached.items and not cached.is_partial:
            entry = cached
        return cls(cache, key, entry, False, allow_stale)

    @property
    def items(self) -> list[T]:
        """The items that may be shown: none of a stale entry unless `allow_stale`."""
        entry = self.current_entry()
        is_fresh = entry.is_partial or self.cache.is_fresh(entry)
        return entry.items if is_fresh or self.allow_stale else []

    def cache_state(self) -> CacheState:
        """How the response describes the cache's part in it."""
        entry = self.current_entry()
        origin = self._origin(entry)
        if origin == "live":
            return CacheState("miss")
        return CacheState(
            "hit" if origin == "cache" else "stale", round(self.cache.age_s(entry), 1)
        )

    def current_entry(self) -> CacheEntry[T]:
        """The entry as it is now: a fetch may have replaced it since the request arrived."""
        return self.cache.get(self.key) or self.entry

    def tier(self, live: L) -> L | Literal["cache", "stale"]:
        """The tier of its items: `live` if they were fetched for this request."""
        origin = self._origin(self.current_entry())
        return live if origin == "live" else origin

    def _origin(self, entry: CacheEntry[T]) -> Literal["live", "cache", "stale"]:
        if entry.is_partial:
            return "live"
        if not self.cache.is_fresh(entry):
            return "stale"
        return "cache" if self.is_hit or entry.from_store else "live"

    def miss_reason(self) -> Literal["failed", "deadline", "rejected"]:
        """Why none of its items could be shown."""
        entry = self.current_entry()
        if entry.failed:
            return "failed"
        return "deadline" if entry.is_fetching else "rejected"
