"""Metrics of the main screen: where its halves come from, and what users do with them."""

from __future__ import annotations

from hamlet.suggest import Suggestions
from hamlet.suggest.events import Event
from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.exposition import Exposition


class ScreenMetrics:
    """Counts answers and events. `event` may be called in another thread than the loop's."""

    def __init__(self, exposition: Exposition) -> None:
        counter = exposition.counter
        self._answers = counter("hamlet_suggest_answers_total")
        self._degraded = counter("hamlet_suggest_degradations_total")
        self._duration = exposition.histogram("hamlet_suggest_duration_seconds")
        self._late = counter("hamlet_suggest_late_total")
        self._cache = counter("hamlet_suggest_cache_total")
        self._events = counter("hamlet_suggest_events_total")
        for surface in L.CLOSED[L.SURFACE]:
            self._late.zero((surface,))
        degraded = CATALOGUE["hamlet_suggest_degradations_total"]
        for part in L.CLOSED[L.PART]:
            for origin in degraded.of(L.ORIGIN) or ():
                for reason in degraded.of(L.REASON) or ():
                    self._degraded.zero((part, origin, reason))
        kinds = CATALOGUE["hamlet_suggest_events_total"].of(L.TYPE) or ()
        for part in L.CLOSED[L.PART]:
            for result in CATALOGUE["hamlet_suggest_cache_total"].of(L.RESULT) or ():
                self._cache.zero((part, result))
            for tier in L.TIERS:
                for kind in kinds:
                    self._events.zero((part, tier, kind))
                for surface in L.CLOSED[L.SURFACE]:
                    self._answers.zero((surface, part, tier))

    def answered(self, shown: Suggestions) -> None:
        """A whole answer."""
        surface, timing = shown.surface, shown.timing
        for part, half, cache in (
            ("links", shown.links, shown.cache.links),
            ("chips", shown.chips, shown.cache.chips),
        ):
            if half is not None:
                self._answers.count((surface, part, half.tier))
                self._cache.count((part, cache.status))
        for missed in shown.degradations:
            self._degraded.count((missed.part, missed.origin, missed.reason))
        self._duration.observe((surface,), timing.total_ms / 1000)
        if timing.total_ms > timing.budget_ms:
            self._late.count((surface,))

    def event(self, event: Event) -> None:
        """A new event."""
        self._events.count((event.shown.part, event.shown.tier, event.type))
