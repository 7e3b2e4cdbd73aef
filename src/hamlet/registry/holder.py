"""The registry in use, and its replacement while calls are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from hamlet.registry.registry import Registry


class Lease:
    """One registry and the number of calls that hold it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.holders = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def take(self) -> Lease:
        """Hold it; pair with `release`."""
        if not self.holders:
            self.idle.clear()
        self.holders += 1
        return self

    def release(self) -> None:
        """Let go."""
        self.holders -= 1
        if not self.holders:
            self.idle.set()


class RegistryHolder:
    """Gives each call the snapshot it began with; a replaced one closes when its last call ends."""

    def __init__(self, registry: Registry) -> None:
        self._lease = Lease(registry)
        self._draining: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Registry:
        """The registry that new calls get."""
        return self._lease.registry

    def take(self) -> Lease:
        """A hold on the current registry, which stays open until its `release`."""
        return self._lease.take()

    @contextmanager
    def lease(self) -> Iterator[Registry]:
        """The current registry, kept open for the length of the block."""
        held = self.take()
        try:
            yield held.registry
        finally:
            held.release()

    def swap(self, registry: Registry, drain_s: float) -> None:
        """Use `registry` from now on; close the old one when idle, or after `drain_s`."""
        old, self._lease = self._lease, Lease(registry)
        task = asyncio.get_running_loop().create_task(_retire(old, drain_s))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def aclose(self) -> None:
        """Close all registries now."""
        for task in list(self._draining):
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await self.current.aclose()


async def _retire(lease: Lease, drain_s: float) -> None:
    try:
        async with asyncio.timeout(drain_s):
            await lease.idle.wait()
    except TimeoutError:
        pass
    finally:
        await lease.registry.aclose()
