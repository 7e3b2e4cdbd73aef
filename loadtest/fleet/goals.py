"""The goals of the fleet design's section 6, and whether a set of runs reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamlet.simulator.report import Outcome, Report
from hamlet.simulator.statistics import Tally, Windows
from loadtest.fleet.overload import overload
from loadtest.fleet.runs import EASED, FULL, scene

Reports = Mapping[str, Report]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table: what was seen, what is asked, and whether it holds."""

    name: str
    seen: str
    asked: str
    holds: bool


def goals(runs: Reports) -> list[Goal]:
    """All of them, in the order of the design."""
    return [*faulty(runs), *dead_and_slow(runs), *outage(runs), *capacity(runs), *overloaded()]


def faulty(runs: Reports) -> list[Goal]:
    """G1: any deployment fails now and then, before its first content."""
    found = []
    for share, success, most in ((0.1, 0.998, 1.12), (0.05, 0.9995, 1.12), (0.01, 1.0, 1.12)):
        report = runs[f"failing {share}"]
        seen = f"{report.success:.3%}, {report.attempts_per_request:.3f} attempts"
        holds = report.success >= success and report.attempts_per_request <= most
        asked = f">= {success:.2%}, <= {most}"
        found.append(Goal(f"G1 {share:.0%} of attempts fail", seen, asked, holds))
    return found


def dead_and_slow(runs: Reports) -> list[Goal]:
    """G2, G3: one dead, a zone of nine dead, one ten times slow."""
    one, zone = runs["one dead"], runs["nine dead"]
    wasted = one.attempt_errors["upstream_unavailable"]
    usual = runs[f"hamlet {EASED}"].ttft_s(0.99)
    found = [
        Goal(
            "G2 one dead", f"{one.success:.3%}, {wasted} wasted", "100%, <= 10",
            one.success == 1 and wasted <= 10,
        ),
        Goal("G2 nine dead for 3 min", f"{zone.success:.3%}", ">= 99.95%", zone.success >= 0.9995),
    ]  # fmt: skip
    for where in ("elsewhere", "at home"):
        ratio = runs[f"one slow {where}"].ttft_s(0.99) / usual
        seen = f"p99 TTFT {ratio:.2f}x"
        found.append(Goal(f"G3 one {where} 10x slow", seen, "<= 1.15x", ratio <= 1.15))
    return found


def outage(runs: Reports) -> list[Goal]:
    """G4, G5: four of five attempts fail everywhere for a minute, then all is well."""
    report = runs["all failing"]
    during, after = _within(report, 60, 120), _within(report, 120, 135)
    attempts = sum(o.attempts for o in during) / max(1, len(during))
    good = sum(o.ok for o in after) / max(1, len(after))
    return [
        Goal("G4 80% fail everywhere", f"{attempts:.3f} attempts", "<= 1.25", attempts <= 1.25),
        Goal("G5 15 s after it heals", f"{good:.2%}", ">= 99%", good >= 0.99),
    ]


def capacity(runs: Reports) -> list[Goal]:
    """G6: refusals at four fifths of the load, and what full load costs."""
    eased, full = runs[f"hamlet {EASED}"], runs[f"hamlet {FULL}"]
    spilled = tally(full, 1).paid() / max(1e-9, tally(runs[f"strict order {FULL}"], 1).paid())
    refused = eased.errors["rate_limited"] + full.errors["rate_limited"]
    share = eased.refusal_share
    return [
        Goal("G6 429s at 80% load", f"{share:.2%}", "<= 0.5%", share <= 0.005),
        Goal("G6 spill at 100% load", f"{spilled:.0%} of strict order's", "<= 60%", spilled <= 0.6),
        Goal("G6 429s seen by clients", str(refused), "0", refused == 0),
    ]


def overloaded() -> list[Goal]:
    """G7: twice the load for a minute, and the time after."""
    seen = overload()
    well = seen.after == 1 and seen.after_p99 <= 1.15
    return [
        Goal("G7 goodput at 2x load", f"{seen.goodput:.1%} of capacity", ">= 90%", seen.goodput >= 0.9),
        Goal("G7 chat meanwhile", f"{seen.chat:.2%}", ">= 99%", seen.chat >= 0.99),
        Goal(
            "G7 chips that are shed", f"{1 - seen.chips:.0%}, after {1000 * seen.shed_p99_s:.0f} ms",
            "<= 20 ms", seen.shed_p99_s <= 0.02,
        ),
        Goal(
            "G7 10 s after it", f"{seen.after:.2%}, p99 TTFT {seen.after_p99:.2f}x",
            "as before", well,
        ),
    ]  # fmt: skip


def tally(report: Report, seconds: float) -> Tally:
    """What a run of the example fleet adds up to."""
    return Tally(report, scene(EASED).places, Windows.over(seconds))


def _within(report: Report, from_s: float, to_s: float) -> Sequence[Outcome]:
    return [o for o in report.outcomes if from_s <= o.started_s < to_s]
