"""One request's share in a gathering: what it may wait for, and what it got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hamlet.suggest.model import CacheState
from hamlet.suggest.swr_cache import Batch, Pool

T = TypeVar("T")
L = TypeVar("L", bound=str)


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """A batch of a pool, and whether it was there before this request."""

    pool: Pool[T]
    key: str
    batch: Batch[T]
    had: bool
    stale: bool = True

    @classmethod
    def of(
        cls,
        pool: Pool[T],
        key: str,
        fill: Callable[[list[T]], Awaitable[None]],
        *,
        stale: bool = True,
    ) -> Work[T]:
        """Take what is fresh; else begin to gather, or join those who wait, over what is stale."""
        kept = pool.get(key)
        if kept is not None and pool.is_fresh(kept):
            return cls(pool, key, kept, had=True, stale=stale)
        begun = pool.gather(key, fill)
        useful = kept is not None and bool(kept.items) and not kept.is_partial
        batch = kept if useful and kept is not None else begun
        return cls(pool, key, batch, had=False, stale=stale)

    @property
    def usable(self) -> list[T]:
        """What of it may be shown."""
        batch = self.now()
        fresh = batch.is_partial or self.pool.is_fresh(batch)
        return batch.items if fresh or self.stale else []

    def state(self) -> CacheState:
        """The cache's share in it."""
        batch = self.now()
        kind = self._origin(batch)
        if kind == "live":
            return CacheState("miss")
        return CacheState("hit" if kind == "cache" else "stale", round(self.pool.age(batch), 1))

    def now(self) -> Batch[T]:
        """The batch as it is now."""
        return self.pool.get(self.key) or self.batch

    def tier(self, live: L) -> L | Literal["cache", "stale"]:
        """Where its items come from: `live` if they were gathered for this request."""
        kind = self._origin(self.now())
        return live if kind == "live" else kind

    def _origin(self, batch: Batch[T]) -> Literal["live", "cache", "stale"]:
        if batch.is_partial:
            return "live"
        if not self.pool.is_fresh(batch):
            return "stale"
        return "cache" if self.had or batch.shared else "live"

    def why_not(self) -> Literal["failed", "deadline", "rejected"]:
        """Why nothing of it could be shown."""
        batch = self.now()
        if batch.failed:
            return "failed"
        return "deadline" if batch.running else "rejected"
