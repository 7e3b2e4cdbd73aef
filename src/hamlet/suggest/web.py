"""The web sources behind one search: in order, each left alone while it is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch

_FAILURES, _OPEN_S, _LONGEST_OPEN_S = 3, 15.0, 300.0
_MOST_AT_ONCE = 16


@dataclass(slots=True)
class Breaker:
    """Leaves a source alone after failures in a row, or for as long as it asks; then one probe."""

    failures: int = 0
    open_until: float = 0.0
    probing: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_AT_ONCE))

    def may_ask(self, now: float) -> bool:
        """Whether a call may be made now."""
        if self.slots.locked() or now < self.open_until:
            return False
        return self.failures < _FAILURES or not self.probing

    def went_well(self) -> None:
        """A call was answered."""
        self.failures, self.open_until = 0, 0.0

    def went_wrong(self, now: float, retry_after_s: float | None) -> None:
        """A call failed."""
        self.failures += 1
        if retry_after_s is not None:
            self.open_until = now + min(retry_after_s, _LONGEST_OPEN_S)
        elif self.failures >= _FAILURES:
            self.open_until = now + _OPEN_S


class WebSearch:
    """Asks the sources in turn until one answers."""

    def __init__(
        self,
        sources: Callable[[], Mapping[str, SupportsSearch]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sources` gives those of the configuration in use, by name."""
        self._sources = sources
        self._breakers: dict[str, Breaker] = {}
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._sources())

    async def search(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Append what the first source that answers has. Raises SourceError if none does."""
        trouble = SourceError("every web source is left alone for now")
        for name, source in self._sources().items():
            breaker = self._breakers.setdefault(name, Breaker())
            if not breaker.may_ask(self._clock()):
                continue
            breaker.probing = True
            try:
                async with breaker.slots:
                    found.extend(await source.search(query))
            except SourceError as error:
                breaker.went_wrong(self._clock(), error.retry_after_s)
                trouble = error
            else:
                breaker.went_well()
                return
            finally:
                breaker.probing = False
        raise trouble

    def status(self) -> dict[str, dict[str, object]]:
        """For operators: which sources are left alone, and what is left of their day's quota."""
        now = self._clock()
        told: dict[str, dict[str, object]] = {}
        for name, source in self._sources().items():
            breaker = self._breakers.setdefault(name, Breaker())
            told[name] = {
                "state": "open" if now < breaker.open_until else "closed",
                "failures": breaker.failures,
                "quota_left": getattr(source, "quota_left", None),
            }
        return told
