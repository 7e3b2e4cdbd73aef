"""When a replica lowers or holds a feature by itself. Each rule compares the two arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hamlet.config.cutover import GuardConfig
from hamlet.migration.model import FeatureState
from hamlet.migration.tally import Tally
from hamlet.migration.window import Span, Window, quantile, wilson

Action = Literal["proxy", "step", "hold"]
# Where hamlet1 is asked too seldom to compare with, it is believed to fail this often at most.
_BELIEVED_ERRORS, _LEAST_LEGACY = 0.01, 20


@dataclass(frozen=True, slots=True)
class Trip:
    """A rule that is broken: what it asks for, and what was seen."""

    rule: str
    action: Action
    evidence: Mapping[str, Any]

    @property
    def why(self) -> str:
        """One line for the journal."""
        seen = ", ".join(f"{name} {value}" for name, value in self.evidence.items())
        return f"guardrail {self.rule}: {seen}"


def trips(
    state: FeatureState, window: Window, tally: Tally, limits: GuardConfig, loop_lag_s: float
) -> Iterator[Trip]:
    """The rules that a feature breaks, the gravest first."""
    if state.share_bp:
        new = window.last("new", limits.window_s)
        legacy = window.last("legacy", limits.window_s)
        yield from _hard(window, limits)
        yield from _errors(new, legacy, limits)
        yield from _poor(new, legacy, limits)
        yield from _slow("first byte", new.first_s(), legacy.first_s(), limits)
        yield from _slow("total", new.total_s(), legacy.total_s(), limits)
    yield from _dear(tally, limits)
    if state.stage in ("shadow", "canary"):
        yield from _compared(tally, limits)
    if state.stage == "canary" and loop_lag_s > limits.loop_lag_s:
        yield Trip("loop lag", "hold", {"p99_s": round(loop_lag_s, 3)})


def _hard(window: Window, limits: GuardConfig) -> Iterator[Trip]:
    bad = window.last("new", limits.hard_window_s).bad
    if bad >= limits.hard_failures:
        yield Trip("hard failures", "proxy", {"bad": bad, "within_s": limits.hard_window_s})


def _errors(new: Span, legacy: Span, limits: GuardConfig) -> Iterator[Trip]:
    if new.judged < limits.error_least:
        return
    low, _ = wilson(new.bad, new.judged)
    high = _BELIEVED_ERRORS
    if legacy.judged >= _LEAST_LEGACY:
        high = wilson(legacy.bad, legacy.judged)[1]
    if low > high + limits.error_excess:
        seen = {"new": f"{new.bad}/{new.judged}", "legacy": f"{legacy.bad}/{legacy.judged}"}
        yield Trip("error excess", "proxy", seen)


def _poor(new: Span, legacy: Span, limits: GuardConfig) -> Iterator[Trip]:
    (bad, of), (bad_then, of_then) = new.poor(), legacy.poor()
    if min(of, of_then) < limits.quality_least:
        return
    if bad / of > bad_then / of_then + limits.quality_excess:
        yield Trip(
            "poor answers", "step", {"new": f"{bad}/{of}", "legacy": f"{bad_then}/{of_then}"}
        )


def _dear(tally: Tally, limits: GuardConfig) -> Iterator[Trip]:
    if min(tally.priced["new"], tally.priced["legacy"]) < limits.cost_least:
        return
    ours, theirs = tally.mean_usd("new"), tally.mean_usd("legacy")
    if ours > limits.cost_ratio * theirs:
        seen = {"new_usd": round(ours, 6), "legacy_usd": round(theirs, 6)}
        yield Trip("cost", "hold", {**seen, "n": tally.priced["new"]})


def _slow(what: str, new: list[float], legacy: list[float], limits: GuardConfig) -> Iterator[Trip]:
    if min(len(new), len(legacy)) < limits.slow_least:
        return
    ours, theirs = quantile(new, 0.95), quantile(legacy, 0.95)
    assert ours is not None
    assert theirs is not None
    if ours > limits.slow_ratio * theirs and ours > theirs + limits.slow_excess_s:
        seen = {"new_p95_s": round(ours, 3), "legacy_p95_s": round(theirs, 3), "n": len(new)}
        yield Trip(f"slow {what}", "hold", seen)


def _compared(tally: Tally, limits: GuardConfig) -> Iterator[Trip]:
    if tally.candidate["contract_mismatch"]:
        count = tally.candidate["contract_mismatch"]
        yield Trip("contract", "hold", {"mismatches": count, "of": tally.compared})
    if tally.compared >= limits.drift_least:
        low, _ = tally.drift_excess()
        if low > limits.drift_excess:
            yield Trip("drift", "hold", {"excess_at_least": round(low, 3), "n": tally.compared})
