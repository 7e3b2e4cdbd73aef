"""The web sources behind one search: in order, each left alone while it is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch

_FAILURE_THRESHOLD, _OPEN_S, _MAX_OPEN_S = 3, 15.0, 300.0
_MAX_CONCURRENT_CALLS = 16
FoundLinks = Sequence[FoundLink]


@dataclass(slots=True)
class UpstreamBreaker:
    """Leaves a source alone after failures in a row, or for as long as it asks; then one probe."""

    consecutive_failures: int = 0
    open_until: float = 0.0
    total_successes: int = 0
    total_failures: int = 0
    is_probing: bool = False
    slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_CONCURRENT_CALLS)
    )

    def allows_call(self, now: float) -> bool:
        """Whether a call may be made now."""
        if self.slots.locked() or now < self.open_until:
            return False
        return self.consecutive_failures < _FAILURE_THRESHOLD or not self.is_probing

    def record_success(self) -> None:
        """A call was answered."""
        self.total_successes += 1
        self.consecutive_failures, self.open_until = 0, 0.0

    def record_failure(self, now: float, retry_after_s: float | None) -> None:
        """A call failed."""
        self.total_failures += 1
        self.consecutive_failures += 1
        if retry_after_s is not None:
            self.open_until = now + min(retry_after_s, _MAX_OPEN_S)
        elif self.consecutive_failures >= _FAILURE_THRESHOLD:
            self.open_until = now + _OPEN_S


class WebSearch:
    """Asks the sources in turn until one answers; with a hedge, the next also where one is late."""

    def __init__(
        self,
        sources: Callable[[], Mapping[str, SupportsSearch]],
        clock: Callable[[], float] = time.monotonic,
        hedge_after_s: float | None = None,
    ) -> None:
        """`sources` gives those of the configuration in use, by name."""
        self._sources = sources
        self._breakers: dict[str, UpstreamBreaker] = {}
        self._clock = clock
        self._hedge_after_s = hedge_after_s
        self._tasks: set[asyncio.Task[FoundLinks]] = set()

    def __bool__(self) -> bool:
        return bool(self._sources())

    async def search(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Append what the first source that finds something has. Raises SourceError if none does.

        At most one is asked beside another, and who comes too late is heard to the end: to hang up
        would cost the connection and leave the breaker without news.
        """
        remaining = iter(self._sources().items())
        racing: set[asyncio.Task[FoundLinks]] = set()
        last_error: BaseException = SourceError("every web source is left alone for now")
        start_another, got_empty_result = True, False
        while True:
            started = self._start_next(remaining, query) if start_another else None
            if started is not None:
                racing.add(started)
            if not racing:
                break
            hedge_after_s = (
                self._hedge_after_s if started is not None and len(racing) == 1 else None
            )
            done, racing = await asyncio.wait(
                racing, timeout=hedge_after_s, return_when=asyncio.FIRST_COMPLETED
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
    ) -> asyncio.Task[FoundLinks] | None:
        """Ask the next source that is not left alone; None if there is none."""
        for name, source in remaining:
            breaker = self._breakers.setdefault(name, UpstreamBreaker())
            if breaker.allows_call(self._clock()):
                breaker.is_probing = True
                task = asyncio.get_running_loop().create_task(
                    self._search_source(source, breaker, query)
                )
                self._tasks.add(task)
                task.add_done_callback(self._on_done)
                return task
        return None

    async def _search_source(
        self, source: SupportsSearch, breaker: UpstreamBreaker, query: LinkQuery
    ) -> FoundLinks:
        try:
            async with breaker.slots:
                found = await source.search(query)
        except SourceError as error:
            breaker.record_failure(self._clock(), error.retry_after_s)
            raise
        except Exception:
            # A plugin's own mistake, for which no other source is to lose the race.
            breaker.record_failure(self._clock(), None)
            raise
        finally:
            breaker.is_probing = False
        breaker.record_success()
        return found

    def _on_done(self, task: asyncio.Task[FoundLinks]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Of one that came too late nobody else takes the error.
            task.exception()

    async def aclose(self) -> None:
        """Call off what is still asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def status(self) -> dict[str, dict[str, Any]]:
        """For operators: which sources are left alone, and what is left of their day's quota."""
        now = self._clock()
        report: dict[str, dict[str, Any]] = {}
        for name, source in self._sources().items():
            breaker = self._breakers.setdefault(name, UpstreamBreaker())
            report[name] = {
                "state": "open" if now < breaker.open_until else "closed",
                "failures": breaker.consecutive_failures,
                "answered": breaker.total_successes,
                "failed": breaker.total_failures,
                "quota_left": getattr(source, "quota_left", None),
            }
        return report
