"""Metrics of the main screen: where its sections come from, and what users do with them."""

from __future__ import annotations

from hamlet.suggest.event_store import Event
from hamlet.suggest.model import Suggestions
from hamlet.telemetry import labels as L
from hamlet.telemetry.catalogue import CATALOGUE
from hamlet.telemetry.exposition import Exposition


class ScreenMetrics:
    """Counts responses and events. `on_event` may be called in any thread."""

    def __init__(self, exposition: Exposition) -> None:
        counter = exposition.counter
        self._responses = counter("hamlet_suggest_answers_total")
        self._degradations = counter("hamlet_suggest_degradations_total")
        self._duration = exposition.histogram("hamlet_suggest_duration_seconds")
        self._late = counter("hamlet_suggest_late_total")
        self._cache = counter("hamlet_suggest_cache_total")
        self._events = counter("hamlet_suggest_events_total")
        self._init_degradation_series()
        self._init_item_series()

    def _init_degradation_series(self) -> None:
        for surface in L.CLOSED_VALUES[L.SURFACE]:
            self._late.init_series((surface,))
        degraded = CATALOGUE["hamlet_suggest_degradations_total"]
        for part in L.CLOSED_VALUES[L.PART]:
            for origin in degraded.closed_values(L.ORIGIN) or ():
                for reason in degraded.closed_values(L.REASON) or ():
                    self._degradations.init_series((part, origin, reason))

    def _init_item_series(self) -> None:
        kinds = CATALOGUE["hamlet_suggest_events_total"].closed_values(L.TYPE) or ()
        for part in L.CLOSED_VALUES[L.PART]:
            for result in CATALOGUE["hamlet_suggest_cache_total"].closed_values(L.RESULT) or ():
                self._cache.init_series((part, result))
            for tier in L.TIERS:
                for kind in kinds:
                    self._events.init_series((part, tier, kind))
                for surface in L.CLOSED_VALUES[L.SURFACE]:
                    self._responses.init_series((surface, part, tier))

    def on_suggestions(self, shown: Suggestions) -> None:
        """Count a response, by its last revision."""
        surface, timing = shown.surface, shown.timing
        for part, section, cache in (
            ("links", shown.links, shown.cache.links),
            ("chips", shown.chips, shown.cache.chips),
        ):
            if section is not None:
                self._responses.inc((surface, part, section.tier))
                self._cache.inc((part, cache.status))
        for each in shown.degradations:
            self._degradations.inc((each.part, each.origin, each.reason))
        self._duration.observe((surface,), timing.total_ms / 1000)
        if timing.total_ms > timing.budget_ms:
            self._late.inc((surface,))

    def on_event(self, event: Event) -> None:
        """Count a new event."""
        self._events.inc((event.shown.part, event.shown.tier, event.type))
