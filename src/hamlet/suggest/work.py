"""One request's share in a gathering: what it may wait for, and what it got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

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

    @classmethod
    def of(cls, pool: Pool[T], key: str, fill: Callable[[list[T]], Awaitable[None]]) -> Work[T]:
        """Take what is fresh; else begin to gather, or join those who wait, over what is stale."""
        kept = pool.get(key)
        if kept is not None and pool.is_fresh(kept):
            return cls(pool, key, kept, had=True)
        begun = pool.gather(key, fill)
        stale = kept is not None and bool(kept.items) and not kept.is_partial
        return cls(pool, key, kept if stale and kept is not None else begun, had=False)

    def now(self) -> Batch[T]:
        """The batch as it is now."""
        return self.pool.get(self.key) or self.batch

    def tier(self, live: L) -> L | Literal["cache", "stale"]:
        """Where its items come from: `live` if they were gathered for this request."""
        batch = self.now()
        if batch.is_partial or (not self.had and self.pool.is_fresh(batch)):
            return live
        return "cache" if self.pool.is_fresh(batch) else "stale"

    def why_not(self) -> Literal["failed", "deadline", "rejected"]:
        """Why nothing of it could be shown."""
        batch = self.now()
        if batch.failed:
            return "failed"
        return "deadline" if batch.running else "rejected"
