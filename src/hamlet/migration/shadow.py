"""Trying requests in the dark, after the user has been answered, at a bounded cost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from hamlet.config.cutover import ShadowConfig
from hamlet.migration.comparison import compare
from hamlet.migration.feature import Feature
from hamlet.migration.model import Arm, FeatureState
from hamlet.migration.response import Answer
from hamlet.migration.tally import Kind
from hamlet.spi import Log

Try = Callable[[], Awaitable[Answer]]
_TRIED = (("shadow", "legacy"), ("new", "new"))
_MINUTE_S, _HOUR_S = 60.0, 3600.0


class Shadow:
    """Decides what is tried, runs it, and compares. Nothing of it is ever seen by a user."""

    def __init__(
        self,
        config: ShadowConfig,
        busy: Callable[[], float],
        log: Log,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`busy` tells how full this replica is, from 0 to 1."""
        self._config, self._busy, self._log, self._draw = config, busy, log, draw
        self._tasks: set[asyncio.Task[None]] = set()
        self._recent: deque[float] = deque(maxlen=config.per_minute)
        self._spent: deque[tuple[float, float]] = deque()

    @property
    def most_bytes(self) -> int:
        """The longest answer that is compared."""
        return self._config.max_bytes

    def wants(self, feature: Feature, state: FeatureState, arm: Arm) -> Kind | None:
        """Whether what `arm` answers is to be asked once more afterwards, and what for."""
        if feature.config.side_effects or (state.stage, arm) not in _TRIED:
            return None
        drawn = self._draw() * 100
        if arm == "new":
            return "reverse" if drawn < self._config.reverse_percent else None
        if drawn < self._config.noise_percent:
            return "noise"
        if drawn < self._config.noise_percent + state.shadow_percent:
            return "candidate"
        return None

    def begin(
        self, feature: Feature, kind: Kind, given: Answer, attempt: Try, request_id: str
    ) -> None:
        """Try in the background what was answered by `given`, if there is room."""
        if reason := self._no_room(given):
            return feature.observer.dropped(feature.name, reason)
        self._recent.append(time.monotonic())
        work = self._run(feature, kind, given, attempt, request_id)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop what is being tried."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _no_room(self, control: Answer) -> str | None:
        if len(control.body) >= self._config.max_bytes:
            return "too_large"
        if len(self._tasks) >= self._config.concurrent or self._busy() > self._config.busy_ratio:
            return "busy"
        full = len(self._recent) == self._config.per_minute
        if full and time.monotonic() - self._recent[0] < _MINUTE_S:
            return "budget"
        most = self._config.usd_per_hour
        return "budget" if most is not None and self._spent_usd() >= most else None

    def _spent_usd(self) -> float:
        """What was spent within the last hour, as far as answers told."""
        while self._spent and time.monotonic() - self._spent[0][0] > _HOUR_S:
            self._spent.popleft()
        return sum(usd for _, usd in self._spent)

    async def _run(
        self, feature: Feature, kind: Kind, given: Answer, attempt: Try, request_id: str
    ) -> None:
        start, epoch = time.monotonic(), feature.tally.epoch
        try:
            async with asyncio.timeout(self._config.deadline_s):
                answer = await attempt()
        except Exception as error:
            # Whatever the candidate does wrong is a verdict, and never anybody else's trouble.
            self._log.info("cutover.try_failed", feature=feature.name, error=type(error).__name__)
            answer = Answer(599, [], b"", whole=False)
        answer.total_s = time.monotonic() - start
        self._pay(feature.usd("new" if kind == "candidate" else "legacy", answer))
        # hamlet1 is what the new arm is measured by, whichever of them was asked first.
        control, candidate = (answer, given) if kind == "reverse" else (given, answer)
        config = feature.config
        noisy = frozenset() if kind == "noise" else frozenset(feature.noisy)
        result = await asyncio.to_thread(
            compare, control, candidate, content=config.content, ignore=config.ignore, noisy=noisy
        )
        feature.compared(kind, result, request_id, epoch=epoch)
        if kind != "noise" and not (control.failed or candidate.failed):
            feature.pair(control, candidate, epoch=epoch)

    def _pay(self, usd: float | None) -> None:
        if usd is not None and self._config.usd_per_hour is not None:
            self._spent.append((time.monotonic(), usd))
