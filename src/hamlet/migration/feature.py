"""One feature as it runs in this replica: its configuration, and what was seen of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from hamlet.config.cutover import CutoverConfig, FeatureConfig, PricesConfig
from hamlet.migration.cohort import Cohort, KeyReader
from hamlet.migration.comparison import Compared
from hamlet.migration.model import Arm, Cause, Document, FeatureState
from hamlet.migration.response import Answer
from hamlet.migration.tally import Kind, Tally
from hamlet.migration.window import Outcome, Window
from hamlet.spi import Log

_MISMATCHES = 1000
_PATH_PARTS = 12


class Observer(Protocol):
    """Sees what the cutover does. Must not block."""

    def request(
        self, feature: str, arm: Arm, outcome: Outcome, first_s: float | None, total_s: float
    ) -> None:
        """An arm has ended a request; a rescued one ends on both."""
        ...

    def rescued(self, feature: str, reason: str) -> None:
        """hamlet1 answered what the new arm could not."""
        ...

    def compared(self, feature: str, kind: Kind, verdict: str) -> None:
        """Two answers were compared."""
        ...

    def dropped(self, feature: str, reason: str) -> None:
        """A request that was sampled was not tried in the dark."""
        ...

    def stands(self, feature: str, state: FeatureState) -> None:
        """Where a feature stands now."""
        ...

    def moved(self, feature: str, to: str, cause: Cause) -> None:
        """A feature was moved."""
        ...


class Feature:
    """Configuration, window, counts and mismatches of one feature."""

    def __init__(
        self,
        name: str,
        config: FeatureConfig,
        observer: Observer,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        salt: str = "",
        prices: PricesConfig | None = None,
    ) -> None:
        self.name, self.config, self._prices = name, config, prices
        self.keys, self.cohort = KeyReader(config.key), Cohort(salt, name)
        self.clock = clock
        self.observer, self._log = observer, log
        self.window, self.tally = Window(clock), Tally()
        self.noisy: set[str] = set()
        self.mismatches: deque[dict[str, Any]] = deque(maxlen=_MISMATCHES)
        self.slow_since: float | None = None
        self._step = ""

    def ended(
        self,
        arm: Arm,
        outcome: Outcome,
        first_s: float | None,
        total_s: float,
        *,
        epoch: int,
        looked: Answer | None = None,
    ) -> None:
        """An arm has ended a request that began at `epoch`; it says nothing of a later one.

        `looked` is its answer, where that is looked into.
        """
        if epoch == self.tally.epoch:
            poor = looked.poor if looked is not None else None
            self.window.add(arm, outcome, first_s, total_s, poor)
            self.tally.ended(arm, outcome)
            if looked is not None:
                self._spent({arm: looked})
        self.observer.request(self.name, arm, outcome, first_s, total_s)

    def usd(self, arm: Arm, answer: Answer) -> float | None:
        """What an answer of an arm has cost, US dollars, if that can be told."""
        if self._prices is None:
            return None
        return answer.usd(self._prices.new if arm == "new" else self._prices.legacy)

    def _spent(self, answers: Mapping[Arm, Answer]) -> None:
        """Count what answers to one request have cost: all of them or none."""
        found = {arm: self.usd(arm, answer) for arm, answer in answers.items()}
        if None not in found.values():
            for arm, usd in found.items():
                self.tally.spent(arm, usd or 0.0)

    def pair(self, legacy: Answer, new: Answer, *, epoch: int) -> None:
        """Both arms have answered one request of `epoch`."""
        if epoch == self.tally.epoch:
            self._spent({"legacy": legacy, "new": new})

    def compared(self, kind: Kind, result: Compared, request_id: str, *, epoch: int) -> None:
        """Two answers of `epoch` were compared; mismatches are kept, without their words."""
        if epoch != self.tally.epoch:
            return
        self.tally.compared_as(kind, result.verdict)
        self.observer.compared(self.name, kind, result.verdict)
        if kind == "noise" and result.verdict == "contract_mismatch":
            self.noisy.update(result.paths)
        if result.verdict in ("equal", "tolerated", "control_failed"):
            return
        told = {**asdict(result), "paths": list(result.paths[:_PATH_PARTS])}
        told |= {"feature": self.name, "kind": kind, "request_id": request_id, "at": time.time()}
        self.mismatches.append(told)
        self._log.warning("cutover.compared", **{k: v for k, v in told.items() if v is not None})

    def stands(self, state: FeatureState) -> None:
        """Begin to count anew where a feature has moved."""
        self.observer.stands(self.name, state)
        if self._step not in ("", state.step):
            self.observer.moved(self.name, state.stage, state.cause)
            self._log.info(
                "cutover.moved",
                feature=self.name,
                from_=self._step,
                to=state.step,
                cause=state.cause,
            )
        self._step = state.step
        if self.tally.epoch != state.changed:
            self.tally = Tally(state.changed)
            self.window.clear()
            self.slow_since = None

    def told(self, state: FeatureState) -> dict[str, Any]:
        """What this replica can say of the feature, as plain data."""
        new, legacy = self.window.last("new", 300), self.window.last("legacy", 300)
        return {
            "state": state.model_dump(mode="json"),
            "tally": self.tally.told(),
            "p95_first_s": {"new": _p95(new.first_s()), "legacy": _p95(legacy.first_s())},
            "p95_total_s": {"new": _p95(new.total_s()), "legacy": _p95(legacy.total_s())},
            "mismatches": list(self.mismatches)[-20:],
        }


class Features:
    """All of them, found by path."""

    def __init__(self, config: CutoverConfig, observer: Observer, log: Log) -> None:
        self.all = {
            name: Feature(name, row, observer, log, salt=config.salt, prices=config.prices)
            for name, row in config.features.items()
        }
        rows = [(path, self.all[name]) for name, f in config.features.items() for path in f.paths]
        self._exact = {path: feature for path, feature in rows if not path.endswith("*")}
        # The longest prefix decides.
        prefixes = [(path[:-1], feature) for path, feature in rows if path.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda row: -len(row[0]))

    def at(self, path: str) -> Feature | None:
        """The feature that a path belongs to."""
        if found := self._exact.get(path):
            return found
        for prefix, feature in self._prefixes:
            if path.startswith(prefix):
                return feature
        return None

    def stand(self, document: Document) -> None:
        """Take over where all of them stand."""
        for name, feature in self.all.items():
            feature.stands(document.of(name))


def _p95(ordered: list[float]) -> float | None:
    return round(ordered[int(len(ordered) * 0.95)], 4) if ordered else None
