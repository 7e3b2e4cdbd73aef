"""The guardrails: rules by which a replica demotes or holds a feature automatically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hamlet.config.cutover import GuardConfig
from hamlet.migration.counters import FeatureCounters
from hamlet.migration.rollout_document import FeatureState
from hamlet.migration.window import ArmSamples, ArmWindow, quantile, wilson_interval

GuardrailAction = Literal["proxy", "step", "hold"]
# The error rate assumed of hamlet1 while it serves too few requests to measure it.
_ASSUMED_LEGACY_ERROR_RATIO, _MIN_LEGACY_REQUESTS = 0.01, 20


@dataclass(frozen=True, slots=True)
class GuardrailViolation:
    """A violated rule: the action it calls for, and the evidence."""

    rule: str
    action: GuardrailAction
    evidence: Mapping[str, Any]

    @property
    def why(self) -> str:
        """One line for the journal."""
        seen = ", ".join(f"{name} {value}" for name, value in self.evidence.items())
        return f"guardrail {self.rule}: {seen}"


def find_violations(
    state: FeatureState,
    window: ArmWindow,
    counters: FeatureCounters,
    limits: GuardConfig,
    loop_lag_s: float,
) -> Iterator[GuardrailViolation]:
    """The rules that a feature violates, the most severe first."""
    if state.share_bp:
        new = window.recent("new", limits.window_s)
        legacy = window.recent("legacy", limits.window_s)
        yield from _check_hard_failures(window, limits)
        yield from _check_error_rate(new, legacy, limits)
        yield from _check_quality(new, legacy, limits)
        yield from _check_latency(
            "first byte", new.first_byte_times_s(), legacy.first_byte_times_s(), limits
        )
        yield from _check_latency("total", new.total_times_s(), legacy.total_times_s(), limits)
    yield from _check_cost(counters, limits)
    if state.stage in ("shadow", "canary"):
        yield from _check_comparisons(counters, limits)
    if state.stage == "canary" and loop_lag_s > limits.loop_lag_s:
        yield GuardrailViolation("loop lag", "hold", {"p99_s": round(loop_lag_s, 3)})


def _check_hard_failures(window: ArmWindow, limits: GuardConfig) -> Iterator[GuardrailViolation]:
    bad = window.recent("new", limits.hard_window_s).bad
    if bad >= limits.hard_failures:
        yield GuardrailViolation(
            "hard failures", "proxy", {"bad": bad, "within_s": limits.hard_window_s}
        )


def _check_error_rate(
    new: ArmSamples, legacy: ArmSamples, limits: GuardConfig
) -> Iterator[GuardrailViolation]:
    if new.evaluated < limits.error_least:
        return
    low, _ = wilson_interval(new.bad, new.evaluated)
    high = _ASSUMED_LEGACY_ERROR_RATIO
    if legacy.evaluated >= _MIN_LEGACY_REQUESTS:
        high = wilson_interval(legacy.bad, legacy.evaluated)[1]
    if low > high + limits.error_excess:
        seen = {"new": f"{new.bad}/{new.evaluated}", "legacy": f"{legacy.bad}/{legacy.evaluated}"}
        yield GuardrailViolation("error excess", "proxy", seen)


def _check_quality(
    new: ArmSamples, legacy: ArmSamples, limits: GuardConfig
) -> Iterator[GuardrailViolation]:
    (bad, total), (legacy_bad, legacy_total) = new.low_quality_counts(), legacy.low_quality_counts()
    if min(total, legacy_total) < limits.quality_least:
        return
    if bad / total > legacy_bad / legacy_total + limits.quality_excess:
        yield GuardrailViolation(
            "poor answers",
            "step",
            {"new": f"{bad}/{total}", "legacy": f"{legacy_bad}/{legacy_total}"},
        )


def _check_cost(counters: FeatureCounters, limits: GuardConfig) -> Iterator[GuardrailViolation]:
    if min(counters.priced["new"], counters.priced["legacy"]) < limits.cost_least:
        return
    ours, theirs = counters.mean_usd("new"), counters.mean_usd("legacy")
    if ours > limits.cost_ratio * theirs:
        seen = {"new_usd": round(ours, 6), "legacy_usd": round(theirs, 6)}
        yield GuardrailViolation("cost", "hold", {**seen, "n": counters.priced["new"]})


def _check_latency(
    measure: str, new: list[float], legacy: list[float], limits: GuardConfig
) -> Iterator[GuardrailViolation]:
    if min(len(new), len(legacy)) < limits.slow_least:
        return
    ours, theirs = quantile(new, 0.95), quantile(legacy, 0.95)
    assert ours is not None
    assert theirs is not None
    if ours > limits.slow_ratio * theirs and ours > theirs + limits.slow_excess_s:
        seen = {"new_p95_s": round(ours, 3), "legacy_p95_s": round(theirs, 3), "n": len(new)}
        yield GuardrailViolation(f"slow {measure}", "hold", seen)


def _check_comparisons(
    counters: FeatureCounters, limits: GuardConfig
) -> Iterator[GuardrailViolation]:
    if counters.candidate["contract_mismatch"]:
        count = counters.candidate["contract_mismatch"]
        yield GuardrailViolation(
            "contract", "hold", {"mismatches": count, "of": counters.comparisons}
        )
    if counters.comparisons >= limits.drift_least:
        low, _ = counters.drift_excess()
        if low > limits.drift_excess:
            yield GuardrailViolation(
                "drift", "hold", {"excess_at_least": round(low, 3), "n": counters.comparisons}
            )
