"""A feature as it runs in this replica: configuration, counters and recent mismatches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from hamlet.config.cutover import CutoverConfig, FeatureConfig, PricesConfig
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.cohort import Cohort, CohortKeyExtractor
from hamlet.migration.comparison import ComparisonResult
from hamlet.migration.counters import ComparisonKind, FeatureCounters
from hamlet.migration.rollout_document import Arm, FeatureState, RolloutDocument, TransitionCause
from hamlet.migration.window import ArmOutcome, ArmWindow, quantile
from hamlet.spi import Log

_MAX_MISMATCHES = 1000
_MAX_LOGGED_PATHS = 12


class MigrationObserver(Protocol):
    """Gets the events of the migration. Must not block."""

    def on_request_end(
        self,
        feature: str,
        arm: Arm,
        outcome: ArmOutcome,
        first_byte_s: float | None,
        total_s: float,
    ) -> None:
        """An arm has finished a request; a rescued request is reported for the new arm."""
        ...

    def on_rescue(self, feature: str, reason: str) -> None:
        """hamlet1 served a request after the new arm had failed."""
        ...

    def on_comparison(self, feature: str, kind: ComparisonKind, verdict: str) -> None:
        """Two responses were compared."""
        ...

    def on_shadow_drop(self, feature: str, reason: str) -> None:
        """A request that was sampled for shadowing was not shadowed."""
        ...

    def on_state_applied(self, feature: str, state: FeatureState) -> None:
        """The state of a feature now in force."""
        ...

    def on_transition(self, feature: str, to: str, cause: TransitionCause) -> None:
        """A feature has changed its step."""
        ...


class FeatureRuntime:
    """Configuration, sliding window, counters and mismatches of one feature."""

    def __init__(
        self,
        name: str,
        config: FeatureConfig,
        observer: MigrationObserver,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
        salt: str = "",
        prices: PricesConfig | None = None,
    ) -> None:
        self.name, self.config, self._prices = name, config, prices
        self.key_extractor, self.cohort = CohortKeyExtractor(config.key), Cohort(salt, name)
        self.clock = clock
        self.observer, self._log = observer, log
        self.window, self.counters = ArmWindow(clock), FeatureCounters()
        self.noisy_paths: set[str] = set()
        self.mismatches: deque[dict[str, Any]] = deque(maxlen=_MAX_MISMATCHES)
        self.slow_since: float | None = None
        self._last_step = ""

    def record_request(
        self,
        arm: Arm,
        outcome: ArmOutcome,
        first_byte_s: float | None,
        total_s: float,
        *,
        epoch: int,
        inspected_response: CapturedResponse | None = None,
    ) -> None:
        """Record a finished request. One that began before the last transition is not evidence.

        `inspected_response` is its response, if this request is one that is inspected.
        """
        if epoch == self.counters.epoch:
            is_low_quality = inspected_response.is_low_quality if inspected_response else None
            self.window.record(arm, outcome, first_byte_s, total_s, is_low_quality)
            self.counters.count_request(arm, outcome)
            if inspected_response is not None:
                self._record_costs({arm: inspected_response})
        self.observer.on_request_end(self.name, arm, outcome, first_byte_s, total_s)

    def cost_usd(self, arm: Arm, response: CapturedResponse) -> float | None:
        """The cost of an arm's response in US dollars, if prices and token counts are known."""
        if self._prices is None:
            return None
        return response.cost_usd(self._prices.new if arm == "new" else self._prices.legacy)

    def _record_costs(self, responses: Mapping[Arm, CapturedResponse]) -> None:
        """Count the costs of the responses to one request: all of them or none."""
        found = {arm: self.cost_usd(arm, response) for arm, response in responses.items()}
        if None not in found.values():
            for arm, usd in found.items():
                self.counters.add_cost(arm, usd or 0.0)

    def record_pair_costs(
        self, legacy: CapturedResponse, new: CapturedResponse, *, epoch: int
    ) -> None:
        """Count the costs of both arms' responses to one request of `epoch`."""
        if epoch == self.counters.epoch:
            self._record_costs({"legacy": legacy, "new": new})

    def record_comparison(
        self, kind: ComparisonKind, result: ComparisonResult, request_id: str, *, epoch: int
    ) -> None:
        """Record a comparison of `epoch`. Mismatches keep no text of users or models."""
        if epoch != self.counters.epoch:
            return
        self.counters.count_comparison(kind, result.verdict)
        self.observer.on_comparison(self.name, kind, result.verdict)
        if kind == "noise" and result.verdict == "contract_mismatch":
            self.noisy_paths.update(result.paths)
        if result.verdict in ("equal", "tolerated", "control_failed"):
            return
        mismatch = {**asdict(result), "paths": list(result.paths[:_MAX_LOGGED_PATHS])}
        mismatch |= {
            "feature": self.name,
            "kind": kind,
            "request_id": request_id,
            "at": time.time(),
        }
        self.mismatches.append(mismatch)
        self._log.warning(
            "cutover.compared", **{k: v for k, v in mismatch.items() if v is not None}
        )

    def apply_state(self, state: FeatureState) -> None:
        """Put a state in force; counters restart if the feature has had a transition."""
        self.observer.on_state_applied(self.name, state)
        if self._last_step not in ("", state.step_label):
            self.observer.on_transition(self.name, state.stage, state.cause)
            self._log.info(
                "cutover.moved",
                feature=self.name,
                from_=self._last_step,
                to=state.step_label,
                cause=state.cause,
            )
        self._last_step = state.step_label
        if self.counters.epoch != state.changed:
            self.counters = FeatureCounters(state.changed)
            self.window.clear()
            self.slow_since = None

    def status_snapshot(self, state: FeatureState) -> dict[str, Any]:
        """State, counters, latencies (seconds) and recent mismatches, for the admin API."""
        new, legacy = self.window.recent("new", 300), self.window.recent("legacy", 300)
        return {
            "state": state.model_dump(mode="json"),
            "tally": self.counters.to_dict(),
            "p95_first_s": {
                "new": _p95(new.first_byte_times_s()),
                "legacy": _p95(legacy.first_byte_times_s()),
            },
            "p95_total_s": {
                "new": _p95(new.total_times_s()),
                "legacy": _p95(legacy.total_times_s()),
            },
            "mismatches": list(self.mismatches)[-20:],
        }


class FeatureSet:
    """All features, matched by path."""

    def __init__(self, config: CutoverConfig, observer: MigrationObserver, log: Log) -> None:
        self.by_name = {
            name: FeatureRuntime(name, row, observer, log, salt=config.salt, prices=config.prices)
            for name, row in config.features.items()
        }
        rows = [
            (path, self.by_name[name]) for name, f in config.features.items() for path in f.paths
        ]
        self._by_exact_path = {path: feature for path, feature in rows if not path.endswith("*")}
        # The longest prefix wins.
        prefixes = [(path[:-1], feature) for path, feature in rows if path.endswith("*")]
        self._by_prefix = sorted(prefixes, key=lambda row: -len(row[0]))

    def match(self, path: str) -> FeatureRuntime | None:
        """The feature that a path belongs to, if any."""
        if found := self._by_exact_path.get(path):
            return found
        for prefix, feature in self._by_prefix:
            if path.startswith(prefix):
                return feature
        return None

    def apply_document(self, document: RolloutDocument) -> None:
        """Put the state of every feature in force."""
        for name, feature in self.by_name.items():
            feature.apply_state(document.feature_state(name))


def _p95(ordered: list[float]) -> float | None:
    value = quantile(ordered, 0.95)
    return None if value is None else round(value, 4)
