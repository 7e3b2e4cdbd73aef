"""The loop of a replica: reads the document, watches the guardrails, lowers what must go down."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.feature import FeatureRuntime, FeatureSet
from hamlet.migration.guardrails import GuardrailViolation, find_violations
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.transitions import previous_step
from hamlet.spi import Log

_INTERVAL_S = 0.25
# A slowness that is still there so long after the hold is the second within ten minutes.
_REPEAT_SLOW_AFTER_S = 300.0


class GuardrailMonitor:
    """Runs until cancelled."""

    def __init__(
        self, local_state: LocalRolloutState, features: FeatureSet, config: CutoverConfig, log: Log
    ) -> None:
        self._local_state, self._features, self._config, self._log = (
            local_state,
            features,
            config,
            log,
        )
        self._loop_lags_s: deque[float] = deque(maxlen=240)

    @property
    def loop_lag_s(self) -> float:
        """How late the event loop is: the 99th percentile over the last minute."""
        lags = sorted(self._loop_lags_s)
        return lags[int(len(lags) * 0.99)] if lags else 0.0

    async def run(self) -> None:
        """Look again and again. What goes wrong in here is logged and tried again."""
        while True:
            due = time.monotonic() + _INTERVAL_S
            try:
                await self._local_state.refresh()
                await self.check_guardrails()
            except Exception as error:
                self._log.error("cutover.watch_failed", exc_info=error)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._loop_lags_s.append(max(0.0, time.monotonic() - due))

    async def check_guardrails(self) -> None:
        """Evaluate every guardrail once."""
        for feature in self._features.by_name.values():
            state = self._local_state.feature_state(feature.name)
            limits = self._config.guard
            for violation in find_violations(
                state, feature.window, feature.counters, limits, self.loop_lag_s
            ):
                await self._enforce(feature, violation)

    async def _enforce(self, feature: FeatureRuntime, violation: GuardrailViolation) -> None:
        state, local_state = self._local_state.feature_state(feature.name), self._local_state
        if violation.action == "proxy":
            await local_state.demote(feature.name, ("proxy", 0), violation.why, violation.evidence)
        elif violation.action == "step" or self._is_repeatedly_slow(feature, violation):
            await local_state.demote(
                feature.name, previous_step(state), violation.why, violation.evidence
            )
        else:
            await local_state.hold(feature.name, violation.why, violation.evidence)

    def _is_repeatedly_slow(self, feature: FeatureRuntime, violation: GuardrailViolation) -> bool:
        if not violation.rule.startswith("slow"):
            return False
        if feature.slow_since is None:
            feature.slow_since = feature.clock()
        return feature.clock() - feature.slow_since > _REPEAT_SLOW_AFTER_S
