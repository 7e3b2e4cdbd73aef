"""The current registry, and its replacement while calls are in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from hamlet.registry.registry import Registry


class RegistryLease:
    """One registry and the number of calls that use it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.ref_count = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def acquire(self) -> RegistryLease:
        """Keep the registry open; pair with `release`."""
        if not self.ref_count:
            self.idle.clear()
        self.ref_count += 1
        return self

    def release(self) -> None:
        """The registry may close once no call uses it."""
        self.ref_count -= 1
        if not self.ref_count:
            self.idle.set()


class RegistryHolder:
    """Each call keeps the registry it started with; a replaced one closes after its last call."""

    def __init__(self, registry: Registry) -> None:
        self._lease = RegistryLease(registry)
        self._drain_tasks: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Registry:
        """The registry of new calls."""
        return self._lease.registry

    def acquire(self) -> RegistryLease:
        """A lease on the current registry, which stays open until `release`."""
        return self._lease.acquire()

    @contextmanager
    def lease(self) -> Iterator[Registry]:
        """The current registry, kept open within the block."""
        lease = self.acquire()
        try:
            yield lease.registry
        finally:
            lease.release()

    def swap(self, registry: Registry, drain_s: float) -> None:
        """Use `registry` from now on; close the old one when idle, or after `drain_s`."""
        old, self._lease = self._lease, RegistryLease(registry)
        task = asyncio.get_running_loop().create_task(_close_when_idle(old, drain_s))
        self._drain_tasks.add(task)
        task.add_done_callback(self._drain_tasks.discard)

    async def aclose(self) -> None:
        """Close all registries now."""
        for task in list(self._drain_tasks):
            task.cancel()
        await asyncio.gather(*self._drain_tasks, return_exceptions=True)
        await self.current.aclose()


async def _close_when_idle(lease: RegistryLease, drain_s: float) -> None:
    try:
        async with asyncio.timeout(drain_s):
            await lease.idle.wait()
    except TimeoutError:
        pass
    finally:
        await lease.registry.aclose()
