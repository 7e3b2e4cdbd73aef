"""The goals of routing, and whether a set of runs reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamlet.simulator.load_breakdown import LoadBreakdown, TimeWindows
from hamlet.simulator.report import RequestOutcome, SimulationReport
from loadtest.scenarios.routing.overload import simulate_overload
from loadtest.scenarios.routing.runs import NORMAL_SCALE, SATURATED_SCALE, scaled_scene

Reports = Mapping[str, SimulationReport]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table: what was measured, the target, and whether it is met."""

    name: str
    measured: str
    target: str
    is_met: bool


def evaluate_goals(runs: Reports) -> list[Goal]:
    """Every goal: failures, outliers, outages, capacity, overload."""
    return [
        *failure_goals(runs),
        *outlier_goals(runs),
        *outage_goals(runs),
        *capacity_goals(runs),
        *overload_goals(),
    ]


def failure_goals(runs: Reports) -> list[Goal]:
    """A share of all attempts fails before the first content."""
    found = []
    for share, success, max_attempts in (
        (0.1, 0.998, 1.12),
        (0.05, 0.9995, 1.12),
        (0.01, 1.0, 1.12),
    ):
        report = runs[f"failing {share}"]
        measured = f"{report.success_ratio:.3%}, {report.attempts_per_request:.3f} attempts"
        is_met = report.success_ratio >= success and report.attempts_per_request <= max_attempts
        target = f">= {success:.2%}, <= {max_attempts}"
        found.append(Goal(f"{share:.0%} of attempts fail", measured, target, is_met))
    return found


def outlier_goals(runs: Reports) -> list[Goal]:
    """One deployment is down, a zone of nine is down, one is ten times slower."""
    one_dead, zone_dead = runs["one dead"], runs["nine dead"]
    wasted = one_dead.attempt_errors["upstream_unavailable"]
    usual = runs[f"hamlet {NORMAL_SCALE}"].ttft_s(0.99)
    found = [
        Goal(
            "one dead", f"{one_dead.success_ratio:.3%}, {wasted} failed attempts", "100%, <= 10",
            one_dead.success_ratio == 1 and wasted <= 10,
        ),
        Goal("nine dead for 3 min", f"{zone_dead.success_ratio:.3%}", ">= 99.95%", zone_dead.success_ratio >= 0.9995),
    ]  # fmt: skip
    for where in ("elsewhere", "at home"):
        ratio = runs[f"one slow {where}"].ttft_s(0.99) / usual
        measured = f"p99 TTFT {ratio:.2f}x"
        found.append(Goal(f"one {where} 10x slow", measured, "<= 1.15x", ratio <= 1.15))
    return found


def outage_goals(runs: Reports) -> list[Goal]:
    """Four of five attempts fail everywhere for a minute, then none does."""
    report = runs["all failing"]
    during, after = _started_between(report, 60, 120), _started_between(report, 120, 135)
    attempts = sum(o.attempts for o in during) / max(1, len(during))
    good = sum(o.ok for o in after) / max(1, len(after))
    return [
        Goal("80% fail everywhere", f"{attempts:.3f} attempts", "<= 1.25", attempts <= 1.25),
        Goal("15 s after it heals", f"{good:.2%}", ">= 99%", good >= 0.99),
    ]


def capacity_goals(runs: Reports) -> list[Goal]:
    """429s at four fifths of the capacity, and the pay-per-use share at full load."""
    eased, full = runs[f"hamlet {NORMAL_SCALE}"], runs[f"hamlet {SATURATED_SCALE}"]
    spilled = load_breakdown(full, 1).pay_per_use_share() / max(
        1e-9, load_breakdown(runs[f"strict order {SATURATED_SCALE}"], 1).pay_per_use_share()
    )
    refused = eased.errors["rate_limited"] + full.errors["rate_limited"]
    share = eased.rate_limited_ratio
    return [
        Goal("429s at 80% load", f"{share:.2%}", "<= 0.5%", share <= 0.005),
        Goal("spill at 100% load", f"{spilled:.0%} of strict order's", "<= 60%", spilled <= 0.6),
        Goal("429s seen by clients", str(refused), "0", refused == 0),
    ]


def overload_goals() -> list[Goal]:
    """Twice the capacity for a minute, and the time after."""
    result = simulate_overload()
    recovered = result.success_after == 1 and result.ttft_p99_ratio_after <= 1.15
    return [
        Goal("goodput at 2x load", f"{result.goodput:.1%} of capacity", ">= 90%", result.goodput >= 0.9),
        Goal("chat meanwhile", f"{result.chat_success:.2%}", ">= 99%", result.chat_success >= 0.99),
        Goal(
            "chips that are shed", f"{1 - result.chips_success:.0%}, after {1000 * result.shed_p99_s:.0f} ms",
            "<= 20 ms", result.shed_p99_s <= 0.02,
        ),
        Goal(
            "10 s after it", f"{result.success_after:.2%}, p99 TTFT {result.ttft_p99_ratio_after:.2f}x",
            "as before", recovered,
        ),
    ]  # fmt: skip


def load_breakdown(report: SimulationReport, seconds: float) -> LoadBreakdown:
    """Shares and costs of a run of the example fleet."""
    return LoadBreakdown(report, scaled_scene(NORMAL_SCALE).pricing, TimeWindows.covering(seconds))


def _started_between(
    report: SimulationReport, from_s: float, to_s: float
) -> Sequence[RequestOutcome]:
    return [o for o in report.outcomes if from_s <= o.started_s < to_s]
