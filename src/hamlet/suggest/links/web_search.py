"""The web sources behind one search: tried in order, each behind a circuit breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch
from hamlet.suggest.upstream_guard import UpstreamGuard

FoundLinks = Sequence[FoundLink]
_SearchTask = asyncio.Task[FoundLinks]


class WebSearch:
    """Searches the sources in turn until one finds something; hedged if one is late."""

    def __init__(
        self,
        sources: Callable[[], Mapping[str, SupportsSearch]],
        clock: Callable[[], float] = time.monotonic,
        hedge_after_s: float | None = None,
    ) -> None:
        """`sources` returns the sources of the configuration in use, by name."""
        self._sources = sources
        self._guards: dict[str, UpstreamGuard] = {}
        self._clock = clock
        self._hedge_after_s = hedge_after_s
        self._tasks: set[_SearchTask] = set()

    def __bool__(self) -> bool:
        return bool(self._sources())

    async def search(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Append what the first source that finds something has. Raises SourceError if all fail.

        A failed search is followed by the next source, a late one is hedged: at most two searches
        run at once. An empty result is a result, after which no further source is tried, but the
        search that still runs may find more.

        `gateway.hedge.run_hedged` does not fit: it chooses between two calls and cancels the loser.
        Here the sources form a list, an empty result yields to a later one, and the loser runs to
        its end: cancelling would close its connection and hide its outcome from its breaker.
        """
        remaining = iter(self._sources().items())
        running: set[_SearchTask] = set()
        last_error: BaseException = SourceError("the circuit breaker of every web source is open")
        start_another, got_empty_result = True, False
        while True:
            started = self._start_next(remaining, query) if start_another else None
            if started is not None:
                running.add(started)
            if not running:
                break
            may_hedge = started is not None and len(running) == 1
            done, running = await asyncio.wait(
                running,
                timeout=self._hedge_after_s if may_hedge else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            start_another = not done
            for task in done:
                if (error := task.exception()) is not None:
                    last_error, start_another = error, not got_empty_result
                elif rows := task.result():
                    found.extend(rows)
                    return
                else:
                    got_empty_result, start_another = True, False
        if not got_empty_result:
            raise last_error

    def _start_next(
        self, remaining: Iterator[tuple[str, SupportsSearch]], query: LinkQuery
    ) -> _SearchTask | None:
        """Start the search of the next source that admits a call; None if none does."""
        for name, source in remaining:
            guard = self._guard(name)
            if guard.try_acquire():
                task = asyncio.get_running_loop().create_task(
                    guard.run(partial(source.search, query))
                )
                self._tasks.add(task)
                task.add_done_callback(self._on_done)
                return task
        return None

    def _on_done(self, task: _SearchTask) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieves the error of a loser, which asyncio would log as never retrieved.
            task.exception()

    def _guard(self, name: str) -> UpstreamGuard:
        guard = self._guards.get(name)
        if guard is None:
            guard = self._guards[name] = UpstreamGuard(self._clock)
        return guard

    async def aclose(self) -> None:
        """Cancel the searches that still run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def status(self) -> dict[str, dict[str, Any]]:
        """For operators: the state of each source's breaker, its calls, and the day's quota."""
        report: dict[str, dict[str, Any]] = {}
        for name, source in self._sources().items():
            guard = self._guard(name)
            report[name] = {
                "state": guard.state,
                "failures": guard.consecutive_failures,
                "answered": guard.total_successes,
                "failed": guard.total_failures,
                "quota_left": getattr(source, "quota_left", None),
            }
        return report
