"""A stale-while-revalidate cache (the idea of RFC 5861) with one fetch per key at a time."""

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
# How long a failed or empty fetch is not repeated.
_FAILURE_TTL_S = 20.0
_TTL_JITTER = 0.1
_entry_numbers = itertools.count(1)


@dataclass(slots=True)
class CacheEntry(Generic[T]):
    """The items fetched for one key. Times are seconds of the cache's monotonic clock.

    While the first fetch runs, `items` grows. `number` is unique within the process. `generation`
    is the cache's at the start of the fetch: entries from before a `clear` are not stored.
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
        """Whether no fetch of this entry has completed yet."""
        return self.stale_until == 0

    @property
    def is_fetching(self) -> bool:
        """Whether a fetch for this key is running."""
        return self.task is not None and not self.task.done()


@dataclass(frozen=True, slots=True)
class StoredEntry(Generic[T]):
    """An entry in a store that processes share. `fresh_s` and `stale_s` count from now."""

    items: list[T]
    age_s: float
    fresh_s: float
    stale_s: float


class CacheStore(Protocol[T]):
    """Entries shared by processes. No method raises: a store that is down behaves as empty."""

    async def get(self, key: str) -> StoredEntry[T] | None:
        """The entry, fresh or stale, or None."""
        ...

    async def put(self, key: str, entry: StoredEntry[T]) -> None:
        """Store the entry for its `stale_s`."""
        ...

    async def clear(self) -> None:
        """Remove all entries."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class SwrCache(Generic[T]):
    """An LRU of entries with one fetch per key at a time (singleflight).

    Entries belong to no request: each request selects from them. A request that stops waiting does
    not cancel the fetch, which fills the cache for the next one.
    """

    def __init__(
        self,
        *,
        fresh_s: float,
        stale_s: float,
        store: CacheStore[T] | None = None,
        max_entries: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
        on_evict: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_evict` receives the number of each entry that is replaced or evicted."""
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._store = store
        self._max_entries = max_entries
        self._clock = clock
        self._on_evict = on_evict
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._entries: OrderedDict[str, CacheEntry[T]] = OrderedDict()

    def get(self, key: str) -> CacheEntry[T] | None:
        """The entry of a key; None if it is older than `stale_s` and no fetch is running."""
        entry = self._entries.get(key)
        if entry is None or (entry.stale_until <= self._clock() and not entry.is_fetching):
            return None
        self._entries.move_to_end(key)
        return entry

    def is_fresh(self, entry: CacheEntry[T]) -> bool:
        """Whether the entry needs no new fetch."""
        return entry.fresh_until > self._clock()

    def age_s(self, entry: CacheEntry[T]) -> float:
        """Seconds since its fetch completed."""
        return max(0.0, self._clock() - entry.fetched_at)

    async def clear(self) -> None:
        """Remove all entries. Running fetches still reach their requests but are not stored."""
        self._generation += 1
        self._entries.clear()
        if self._store is not None:
            await self._store.clear()

    def fetch(self, key: str, fill: Callable[[list[T]], Awaitable[None]]) -> CacheEntry[T]:
        """Start a fetch, or join the one that is running. `fill` appends items to its argument.

        If `fill` raises, a stale entry stays in use; without one the entry is marked `failed`.
        """
        previous = self._entries.get(key)
        if previous is not None and previous.is_fetching:
            return previous
        if previous is not None and previous.stale_until <= self._clock():
            # Too old to be served even while it is revalidated.
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
            # The stale entry is served until the new one is complete.
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
        fresh_s = self._jittered_fresh_s() if entry.items else _FAILURE_TTL_S
        stale_s = max(fresh_s, self._stale_s if entry.items else 0)
        entry.fetched_at = now
        entry.fresh_until, entry.stale_until = now + fresh_s, now + stale_s
        self._put(key, entry)
        if self._store is not None and entry.items and entry.generation == self._generation:
            await self._store.put(key, StoredEntry(entry.items, 0.0, fresh_s, stale_s))

    def _jittered_fresh_s(self) -> float:
        """Spread, so that entries fetched together do not expire together."""
        return self._fresh_s * random.uniform(1 - _TTL_JITTER, 1 + _TTL_JITTER)

    async def _load_from_store(self, key: str, entry: CacheEntry[T], store: CacheStore[T]) -> bool:
        """Copy a fresh entry of another process; False if there is none."""
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
            self._on_evict(each.number)

    async def aclose(self) -> None:
        """Cancel the running fetches and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.aclose()
