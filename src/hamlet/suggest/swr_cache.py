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
_FAILURE_TTL_S = 20.0
_entry_numbers = itertools.count(1)


@dataclass(slots=True)
class CacheEntry(Generic[T]):
    """What was gathered for one key. Seconds of a monotonic clock.

    `items` may still grow until it is fresh. No two batches of a process have the same `number`.
    """

    items: list[T] = field(default_factory=list)
    fresh_until: float = 0.0
    stale_until: float = 0.0
    task: asyncio.Task[None] | None = None
    failed: bool = False
    fetched_at: float = 0.0
    from_store: bool = False
    generation: int = 0
    number: int = field(default_factory=_entry_numbers.__next__)

    @property
    def is_partial(self) -> bool:
        """Whether it has never been whole."""
        return self.stale_until == 0

    @property
    def is_fetching(self) -> bool:
        """Whether more may come."""
        return self.task is not None and not self.task.done()


@dataclass(frozen=True, slots=True)
class StoredEntry(Generic[T]):
    """What another process gathered. Seconds from now."""

    items: list[T]
    age_s: float
    fresh_s: float
    stale_s: float


class CacheStore(Protocol[T]):
    """A pool that processes share. Never raises: what it cannot do, it leaves."""

    async def get(self, key: str) -> StoredEntry[T] | None:
        """What is there, fresh or stale."""
        ...

    async def put(self, key: str, entry: StoredEntry[T]) -> None:
        """Keep it until it is no longer even stale."""
        ...

    async def clear(self) -> None:
        """Forget everything."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class SwrCache(Generic[T]):
    """An LRU of batches with one gathering per key at a time (singleflight).

    What is gathered belongs to nobody in particular: callers choose from it for themselves. A
    caller that gives up waiting does not stop the gathering; it fills the pool for the next.
    """

    def __init__(
        self,
        *,
        fresh_s: float,
        stale_s: float,
        store: CacheStore[T] | None = None,
        max_entries: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fresh_s, self._stale_s, self._max_entries, self._clock = (
            fresh_s,
            stale_s,
            max_entries,
            clock,
        )
        self._store = store
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._entries: OrderedDict[str, CacheEntry[T]] = OrderedDict()
        # Told the number of each batch that has made place for another.
        self.on_evict: Callable[[int], None] = lambda _: None

    def get(self, key: str) -> CacheEntry[T] | None:
        """The batch of a key, if it may still be used."""
        entry = self._entries.get(key)
        if entry is None or (entry.stale_until <= self._clock() and not entry.is_fetching):
            return None
        self._entries.move_to_end(key)
        return entry

    def is_fresh(self, entry: CacheEntry[T]) -> bool:
        """Whether there is no need to gather again."""
        return entry.fresh_until > self._clock()

    def age_s(self, entry: CacheEntry[T]) -> float:
        """Seconds since it was whole."""
        return max(0.0, self._clock() - entry.fetched_at)

    async def clear(self) -> None:
        """Forget everything; what is on its way reaches those who wait, and is not kept."""
        self._generation += 1
        self._entries.clear()
        if self._store is not None:
            await self._store.clear()

    def fetch(self, key: str, fill: Callable[[list[T]], Awaitable[None]]) -> CacheEntry[T]:
        """Begin to gather, or join those who wait already. `fill` appends to the list it gets."""
        previous = self._entries.get(key)
        if previous is not None and previous.is_fetching:
            return previous
        if previous is not None and previous.stale_until <= self._clock():
            # Too old even to be shown while the new one is on its way.
            previous = None
        entry: CacheEntry[T] = CacheEntry()
        entry.generation = self._generation
        entry.task = asyncio.get_running_loop().create_task(
            self._run_fetch(key, entry, previous, fill)
        )
        self._tasks.add(entry.task)
        entry.task.add_done_callback(self._tasks.discard)
        if previous is None:
            self._put(key, entry)
        else:
            # The stale one stays on offer until the new one is whole.
            previous.task = entry.task
        return entry

    async def _run_fetch(
        self,
        key: str,
        entry: CacheEntry[T],
        previous: CacheEntry[T] | None,
        fill: Callable[[list[T]], Awaitable[None]],
    ) -> None:
        if self._store is not None and await self._load_from_store(key, entry, self._store):
            return
        try:
            await fill(entry.items)
        except Exception:
            entry.failed = True
        now = self._clock()
        if entry.failed and previous is not None and previous.items:
            previous.fresh_until = now + _FAILURE_TTL_S
            return
        fresh_s = self._fresh_s * random.uniform(0.9, 1.1) if entry.items else _FAILURE_TTL_S
        stale_s = max(fresh_s, self._stale_s if entry.items else 0)
        entry.fetched_at = now
        entry.fresh_until, entry.stale_until = now + fresh_s, now + stale_s
        self._put(key, entry)
        if self._store is not None and entry.items and entry.generation == self._generation:
            await self._store.put(key, StoredEntry(entry.items, 0.0, fresh_s, stale_s))

    async def _load_from_store(self, key: str, entry: CacheEntry[T], store: CacheStore[T]) -> bool:
        """Whether another process has it fresh; then it is kept here as well."""
        stored = await store.get(key)
        if stored is None or stored.fresh_s <= 0:
            return False
        now = self._clock()
        entry.items.extend(stored.items)
        entry.from_store, entry.fetched_at = True, now - stored.age_s
        entry.fresh_until, entry.stale_until = now + stored.fresh_s, now + stored.stale_s
        self._put(key, entry)
        return True

    def _put(self, key: str, entry: CacheEntry[T]) -> None:
        if entry.generation != self._generation:
            return
        previous = self._entries.get(key)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        evicted = [previous] if previous is not None and previous is not entry else []
        while len(self._entries) > self._max_entries:
            evicted.append(self._entries.popitem(last=False)[1])
        for each in evicted:
            self.on_evict(each.number)

    async def aclose(self) -> None:
        """Stop all gathering."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.aclose()
