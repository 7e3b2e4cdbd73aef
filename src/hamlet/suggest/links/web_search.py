"""The web sources behind one search: in order, each left alone while it is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch

_FAILURES, _OPEN_S, _LONGEST_OPEN_S = 3, 15.0, 300.0
_MOST_AT_ONCE = 16
Found = Sequence[FoundLink]


@dataclass(slots=True)
class Breaker:
    """Leaves a source alone after failures in a row, or for as long as it asks; then one probe."""

    failures: int = 0
    open_until: float = 0.0
    answered: int = 0
    failed: int = 0
    probing: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_AT_ONCE))

    def may_ask(self, now: float) -> bool:
        """Whether a call may be made now."""
        if self.slots.locked() or now < self.open_until:
            return False
        return self.failures < _FAILURES or not self.probing

    def went_well(self) -> None:
        """A call was answered."""
        self.answered += 1
        self.failures, self.open_until = 0, 0.0

    def went_wrong(self, now: float, retry_after_s: float | None) -> None:
        """A call failed."""
        self.failed += 1
        self.failures += 1
        if retry_after_s is not None:
            self.open_until = now + min(retry_after_s, _LONGEST_OPEN_S)
        elif self.failures >= _FAILURES:
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
        self._breakers: dict[str, Breaker] = {}
        self._clock = clock
        self._hedge_after_s = hedge_after_s
        self._asking: set[asyncio.Task[Found]] = set()

    def __bool__(self) -> bool:
        return bool(self._sources())

    async def search(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Append what the first source that finds something has. Raises SourceError if none does.

        At most one is asked beside another, and who comes too late is heard to the end: to hang up
        would cost the connection and leave the breaker without news.
        """
        left = iter(self._sources().items())
        racing: set[asyncio.Task[Found]] = set()
        trouble: BaseException = SourceError("every web source is left alone for now")
        more, answered = True, False
        while True:
            begun = self._ask_next(left, query) if more else None
            if begun is not None:
                racing.add(begun)
            if not racing:
                break
            patience = self._hedge_after_s if begun is not None and len(racing) == 1 else None
            done, racing = await asyncio.wait(
                racing, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            more = not done
            for task in done:
                if (error := task.exception()) is not None:
                    trouble, more = error, not answered
                elif rows := task.result():
                    found.extend(rows)
                    return
                else:
                    answered, more = True, False
        if not answered:
            raise trouble

    def _ask_next(
        self, left: Iterator[tuple[str, SupportsSearch]], query: LinkQuery
    ) -> asyncio.Task[Found] | None:
        """Ask the next source that is not left alone; None if there is none."""
        for name, source in left:
            breaker = self._breakers.setdefault(name, Breaker())
            if breaker.may_ask(self._clock()):
                breaker.probing = True
                task = asyncio.get_running_loop().create_task(self._ask(source, breaker, query))
                self._asking.add(task)
                task.add_done_callback(self._heard)
                return task
        return None

    async def _ask(self, source: SupportsSearch, breaker: Breaker, query: LinkQuery) -> Found:
        try:
            async with breaker.slots:
                found = await source.search(query)
        except SourceError as error:
            breaker.went_wrong(self._clock(), error.retry_after_s)
            raise
        except Exception:
            # A plugin's own mistake, for which no other source is to lose the race.
            breaker.went_wrong(self._clock(), None)
            raise
        finally:
            breaker.probing = False
        breaker.went_well()
        return found

    def _heard(self, task: asyncio.Task[Found]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            # Of one that came too late nobody else takes the error.
            task.exception()

    async def aclose(self) -> None:
        """Call off what is still asked."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def status(self) -> dict[str, dict[str, Any]]:
        """For operators: which sources are left alone, and what is left of their day's quota."""
        now = self._clock()
        told: dict[str, dict[str, Any]] = {}
        for name, source in self._sources().items():
            breaker = self._breakers.setdefault(name, Breaker())
            told[name] = {
                "state": "open" if now < breaker.open_until else "closed",
                "failures": breaker.failures,
                "answered": breaker.answered,
                "failed": breaker.failed,
                "quota_left": getattr(source, "quota_left", None),
            }
        return told
