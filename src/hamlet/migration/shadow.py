"""Shadow calls: repeats requests on the other arm after the user was served, at a bounded cost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from hamlet.config.cutover import ShadowConfig
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.comparison import compare
from hamlet.migration.counters import ComparisonKind
from hamlet.migration.feature import FeatureRuntime
from hamlet.migration.rollout_document import Arm, FeatureState
from hamlet.spi import Log

ShadowCall = Callable[[], Awaitable[CapturedResponse]]
_SHADOWED_ARMS = (("shadow", "legacy"), ("new", "new"))
_MINUTE_S, _HOUR_S = 60.0, 3600.0


class ShadowRunner:
    """Samples requests, makes the shadow calls and compares. Users never see any of it."""

    def __init__(
        self,
        config: ShadowConfig,
        utilization: Callable[[], float],
        log: Log,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        """`utilization` returns this replica's load, from 0 to 1."""
        self._config, self._utilization, self._log, self._random = (
            config,
            utilization,
            log,
            random_fraction,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._recent_starts: deque[float] = deque(maxlen=config.per_minute)
        self._costs: deque[tuple[float, float]] = deque()

    @property
    def max_response_bytes(self) -> int:
        """The size from which responses are no longer compared."""
        return self._config.max_bytes

    def choose_comparison(
        self, feature: FeatureRuntime, state: FeatureState, arm: Arm
    ) -> ComparisonKind | None:
        """Which comparison, if any, should follow a request that `arm` serves."""
        if feature.config.side_effects or (state.stage, arm) not in _SHADOWED_ARMS:
            return None
        drawn = self._random() * 100
        if arm == "new":
            return "reverse" if drawn < self._config.reverse_percent else None
        if drawn < self._config.noise_percent:
            return "noise"
        if drawn < self._config.noise_percent + state.shadow_percent:
            return "candidate"
        return None

    def start_comparison(
        self,
        feature: FeatureRuntime,
        kind: ComparisonKind,
        served: CapturedResponse,
        shadow_call: ShadowCall,
        request_id: str,
    ) -> None:
        """Compare `served` with a shadow call in the background, within the limits."""
        if reason := self._drop_reason(served):
            return feature.observer.on_shadow_drop(feature.name, reason)
        self._recent_starts.append(time.monotonic())
        comparison = self._compare(feature, kind, served, shadow_call, request_id)
        task = asyncio.get_running_loop().create_task(comparison)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Cancel all shadow calls."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _drop_reason(self, control: CapturedResponse) -> str | None:
        if len(control.body) >= self._config.max_bytes:
            return "too_large"
        if (
            len(self._tasks) >= self._config.concurrent
            or self._utilization() > self._config.busy_ratio
        ):
            return "busy"
        full = len(self._recent_starts) == self._config.per_minute
        if full and time.monotonic() - self._recent_starts[0] < _MINUTE_S:
            return "budget"
        limit_usd = self._config.usd_per_hour
        is_spent = limit_usd is not None and self._spent_last_hour_usd() >= limit_usd
        return "budget" if is_spent else None

    def _spent_last_hour_usd(self) -> float:
        """The known cost of shadow calls within the last hour, US dollars."""
        while self._costs and time.monotonic() - self._costs[0][0] > _HOUR_S:
            self._costs.popleft()
        return sum(usd for _, usd in self._costs)

    async def _compare(
        self,
        feature: FeatureRuntime,
        kind: ComparisonKind,
        served: CapturedResponse,
        shadow_call: ShadowCall,
        request_id: str,
    ) -> None:
        start, epoch = time.monotonic(), feature.counters.epoch
        try:
            async with asyncio.timeout(self._config.deadline_s):
                shadow = await shadow_call()
        except Exception as error:
            # A failure of the candidate is a verdict of the comparison and affects nothing else.
            self._log.info("cutover.try_failed", feature=feature.name, error=type(error).__name__)
            shadow = CapturedResponse(599, [], b"", is_complete=False)
        shadow.total_s = time.monotonic() - start
        self._record_cost(feature.cost_usd("new" if kind == "candidate" else "legacy", shadow))
        # hamlet1 is the control, whichever arm was called first.
        control, candidate = (shadow, served) if kind == "reverse" else (served, shadow)
        config = feature.config
        noisy_paths = frozenset() if kind == "noise" else frozenset(feature.noisy_paths)
        result = await asyncio.to_thread(
            compare,
            control,
            candidate,
            content=config.content,
            ignore=config.ignore,
            noisy_paths=noisy_paths,
        )
        feature.record_comparison(kind, result, request_id, epoch=epoch)
        if kind != "noise" and not (control.is_server_failure or candidate.is_server_failure):
            feature.record_pair_costs(control, candidate, epoch=epoch)

    def _record_cost(self, usd: float | None) -> None:
        if usd is not None and self._config.usd_per_hour is not None:
            self._costs.append((time.monotonic(), usd))
