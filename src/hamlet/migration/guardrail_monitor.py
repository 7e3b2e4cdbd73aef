"""A replica's control loop: refreshes the rollout state, checks guardrails, enforces violations."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from hamlet.config.cutover import CutoverConfig
from hamlet.migration.feature import FeatureRuntime, FeatureSet
from hamlet.migration.guardrails import GuardrailViolation, find_violations
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.transitions import previous_step
from hamlet.migration.window import quantile
from hamlet.spi import Log

_INTERVAL_S = 0.25
# Still slow this long after the hold that slowness caused: the feature goes down a step.
_REPEAT_SLOW_AFTER_S = 300.0


class GuardrailMonitor:
    """Checks all guardrails four times a second, until cancelled."""

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
        """How late the event loop wakes up: the 99th percentile over the last minute, seconds."""
        return quantile(sorted(self._loop_lags_s), 0.99) or 0.0

    async def run(self) -> None:
        """Refresh and check periodically. Exceptions are logged and the loop continues."""
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
