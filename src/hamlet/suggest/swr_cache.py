"""Candidates kept between requests: fresh, stale, or on their way, each asked for once."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
_FAILED_S = 20.0
_numbers = itertools.count(1)


@dataclass(slots=True)
class Batch(Generic[T]):
    """What was gathered for one key. Seconds of a monotonic clock.

    `items` may still grow until it is fresh. No two batches of a process have the same `number`.
    """

    items: list[T] = field(default_factory=list)
    fresh_until: float = 0.0
    stale_until: float = 0.0
    task: asyncio.Task[None] | None = None
    failed: bool = False
    made_at: float = 0.0
    shared: bool = False
    since: int = 0
    number: int = field(default_factory=_numbers.__next__)

    @property
    def is_partial(self) -> bool:
        """Whether it has never been whole."""
        return self.stale_until == 0

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self.task is not None and not self.task.done()


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """What another process gathered. Seconds from now."""

    items: list[T]
    age_s: float
    fresh_s: float
    stale_s: float


class Store(Protocol[T]):
    """A pool that processes share. Never raises: what it cannot do, it leaves."""

    async def get(self, key: str) -> Kept[T] | None:
        """What is there, fresh or stale."""
        ...

    async def put(self, key: str, kept: Kept[T]) -> None:
        """Keep it until it is no longer even stale."""
        ...

    async def clear(self) -> None:
        """Forget everything."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class Pool(Generic[T]):
    """An LRU of batches with one gathering per key at a time (singleflight).

    What is gathered belongs to nobody in particular: callers choose from it for themselves. A
    caller that gives up waiting does not stop the gathering; it fills the pool for the next.
    """

    def __init__(
        self,
        *,
        fresh_s: float,
        stale_s: float,
        store: Store[T] | None = None,
        most: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh_s, self._stale_s, self._most, self._clock = fresh_s, stale_s, most, clock
        self._store = store
        self._since = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._batches: OrderedDict[str, Batch[T]] = OrderedDict()
        # Told the number of each batch that has made place for another.
        self.outdated: Callable[[int], None] = lambda _: None

    def get(self, key: str) -> Batch[T] | None:
        """The batch of a key, if it may still be used."""
        batch = self._batches.get(key)
        if batch is None or (batch.stale_until <= self._clock() and not batch.running):
            return None
        self._batches.move_to_end(key)
        return batch

    def is_fresh(self, batch: Batch[T]) -> bool:
        """Whether there is no need to gather again."""
        return batch.fresh_until > self._clock()

    def age(self, batch: Batch[T]) -> float:
        """Seconds since it was whole."""
        return max(0.0, self._clock() - batch.made_at)

    async def clear(self) -> None:
        """Forget everything; what is on its way reaches those who wait, and is not kept."""
        self._since += 1
        self._batches.clear()
        if self._store is not None:
            await self._store.clear()

    def gather(self, key: str, fill: Callable[[list[T]], Awaitable[None]]) -> Batch[T]:
        """Begin to gather, or join those who wait already. `fill` appends to the list it gets."""
        old = self._batches.get(key)
        if old is not None and old.running:
            return old
        if old is not None and old.stale_until <= self._clock():
            # Too old even to be shown while the new one is on its way.
            old = None
        batch: Batch[T] = Batch()
        batch.since = self._since
        batch.task = asyncio.get_running_loop().create_task(self._fill(key, batch, old, fill))
        self._tasks.add(batch.task)
        batch.task.add_done_callback(self._tasks.discard)
        if old is None:
            self._keep(key, batch)
        else:
            # The stale one stays on offer until the new one is whole.
            old.task = batch.task
        return batch

    async def _fill(
        self,
        key: str,
        batch: Batch[T],
        old: Batch[T] | None,
        fill: Callable[[list[T]], Awaitable[None]],
    ) -> None:
        if self._store is not None and await self._taken_over(key, batch, self._store):
            return
        try:
            await fill(batch.items)
        except Exception:
            batch.failed = True
        now = self._clock()
        if batch.failed and old is not None and old.items:
            old.fresh_until = now + _FAILED_S
            return
        good_s = self._fresh_s * random.uniform(0.9, 1.1) if batch.items else _FAILED_S
        stale_s = max(good_s, self._stale_s if batch.items else 0)
        batch.made_at = now
        batch.fresh_until, batch.stale_until = now + good_s, now + stale_s
        self._keep(key, batch)
        if self._store is not None and batch.items and batch.since == self._since:
            await self._store.put(key, Kept(batch.items, 0.0, good_s, stale_s))

    async def _taken_over(self, key: str, batch: Batch[T], store: Store[T]) -> bool:
        """Whether another process has it fresh; then it is kept here as well."""
        kept = await store.get(key)
        if kept is None or kept.fresh_s <= 0:
            return False
        now = self._clock()
        batch.items.extend(kept.items)
        batch.shared, batch.made_at = True, now - kept.age_s
        batch.fresh_until, batch.stale_until = now + kept.fresh_s, now + kept.stale_s
        self._keep(key, batch)
        return True

    def _keep(self, key: str, batch: Batch[T]) -> None:
        if batch.since != self._since:
            return
        old = self._batches.get(key)
        self._batches[key] = batch
        self._batches.move_to_end(key)
        gone = [old] if old is not None and old is not batch else []
        while len(self._batches) > self._most:
            gone.append(self._batches.popitem(last=False)[1])
        for each in gone:
            self.outdated(each.number)

    async def aclose(self) -> None:
        """Stop all gathering."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.aclose()
