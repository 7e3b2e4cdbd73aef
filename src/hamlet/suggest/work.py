"""One request's share in a gathering: what it may wait for, and what it got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hamlet.suggest.model import CacheState
from hamlet.suggest.pool import Batch, Pool

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
        kind = self.tier("miss")
        age = 0.0 if kind == "miss" else self.pool.age(self.now())
        return CacheState({"cache": "hit", "stale": "stale"}.get(kind, "miss"), round(age, 1))  # type: ignore[arg-type]

    def now(self) -> Batch[T]:
        """The batch as it is now."""
        return self.pool.get(self.key) or self.batch

    def tier(self, live: L) -> L | Literal["cache", "stale"]:
        """Where its items come from: `live` if they were gathered for this request."""
        batch = self.now()
        here = not self.had and not batch.shared and self.pool.is_fresh(batch)
        if batch.is_partial or here:
            return live
        return "cache" if self.pool.is_fresh(batch) else "stale"

    def why_not(self) -> Literal["failed", "deadline", "rejected"]:
        """Why nothing of it could be shown."""
        batch = self.now()
        if batch.failed:
            return "failed"
        return "deadline" if batch.running else "rejected"
