"""The loop of a replica: reads the document, watches the guardrails, lowers what must go down."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.feature import Feature, Features
from hamlet.migration.guardrails import Trip, trips
from hamlet.migration.transitions import step_down
from hamlet.migration.view import View
from hamlet.spi import Log

_EVERY_S = 0.25
# A slowness that is still there so long after the hold is the second within ten minutes.
_SLOW_AGAIN_S = 300.0


class Watch:
    """Runs until cancelled."""

    def __init__(self, view: View, features: Features, config: CutoverConfig, log: Log) -> None:
        self._view, self._features, self._config, self._log = view, features, config, log
        self._lags: deque[float] = deque(maxlen=240)

    @property
    def loop_lag_s(self) -> float:
        """How late the event loop is: the 99th percentile over the last minute."""
        lags = sorted(self._lags)
        return lags[int(len(lags) * 0.99)] if lags else 0.0

    async def run(self) -> None:
        """Look again and again. What goes wrong in here is logged and tried again."""
        while True:
            due = time.monotonic() + _EVERY_S
            try:
                await self._view.refresh()
                await self.look()
            except Exception as error:
                self._log.error("cutover.watch_failed", exc_info=error)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._lags.append(max(0.0, time.monotonic() - due))

    async def look(self) -> None:
        """Evaluate every guardrail once."""
        for feature in self._features.all.values():
            state = self._view.state(feature.name)
            limits = self._config.guard
            for trip in trips(state, feature.window, feature.tally, limits, self.loop_lag_s):
                await self._act(feature, trip)

    async def _act(self, feature: Feature, trip: Trip) -> None:
        state, view = self._view.state(feature.name), self._view
        if trip.action == "proxy":
            await view.lower(feature.name, ("proxy", 0), trip.why, trip.evidence)
        elif trip.action == "step" or self._slow_again(feature, trip):
            await view.lower(feature.name, step_down(state), trip.why, trip.evidence)
        else:
            await view.hold(feature.name, trip.why, trip.evidence)

    def _slow_again(self, feature: Feature, trip: Trip) -> bool:
        if not trip.rule.startswith("slow"):
            return False
        if feature.slow_since is None:
            feature.slow_since = feature.clock()
        return feature.clock() - feature.slow_since > _SLOW_AGAIN_S
