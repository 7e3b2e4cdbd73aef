"""The fleet's goals on virtual time: `python -m loadtest.fleet [TRACE] [--seconds N]`.

Plays a trace (a file, or one generated with the shape of the 750 rpm mix) against the real gateway
over the simulated fleet of 27 PTU deployments, prints a table, and fails where a goal is missed.
Goals and their numbers: docs/results, and the fleet design's section 6.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamlet.config import Loaded, loads
from hamlet.gateway import Admission, Gateway
from hamlet.testing.simulator.faults import Fault
from hamlet.testing.simulator.fleet import example_fleet, for_simulation
from hamlet.testing.simulator.harness import Make, simulate
from hamlet.testing.simulator.report import Outcome, Report
from hamlet.testing.simulator.traces import Arrival, between, generated, read_trace
from loadtest.fleet.policies import POLICIES

# 675 PTU carry the trace at 81 %; with this part of them it fills them wholly.
FULL = 0.81
PAID_TIER = 2


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table: what was seen, what is asked, and whether it holds."""

    name: str
    seen: str
    asked: str
    holds: bool


def fleet(scale: float = 1.0) -> Loaded:
    """The example fleet with its PTU counts scaled."""
    text = re.sub(
        r"ptu: (\d+)", lambda m: f"ptu: {max(1, round(int(m[1]) * scale))}", example_fleet()
    )
    return for_simulation(loads(text))


def head(policy: str) -> Make:
    """The gateway with this policy's head."""

    def make(holder, observers, clock) -> Gateway:  # type: ignore[no-untyped-def]
        chosen = POLICIES[policy](clock, random.Random(5))
        return Gateway(holder, Admission(1_000_000, clock), observers, chosen)

    return make


def play(
    trace: Sequence[Arrival], *faults: Fault, scale: float = 1.0, policy: str = "hamlet"
) -> Report:
    """One run; the same arguments give the same report."""
    return simulate(fleet(scale), trace, seed=3, make=head(policy), faults=faults)


def paid(report: Report) -> float:
    """The part of the work, in input-equivalent tokens, that was paid per use."""
    work = [(o.tier, o.arrival.prompt + 3 * o.output) for o in report.outcomes if o.ok]
    return sum(w for tier, w in work if tier >= PAID_TIER) / max(1, sum(w for _, w in work))


def _within(report: Report, from_s: float, to_s: float) -> list[Outcome]:
    return [o for o in report.outcomes if from_s <= o.started_s < to_s]


def _good(outcomes: Sequence[Outcome]) -> float:
    return sum(o.ok for o in outcomes) / max(1, len(outcomes))


def compare(trace: Sequence[Arrival]) -> dict[tuple[str, float], Report]:
    """Every policy at four fifths of the load and at the full load."""
    return {
        (policy, scale): play(trace, scale=scale, policy=policy)
        for scale in (1.0, FULL)
        for policy in POLICIES
    }


def faulty(trace: Sequence[Arrival]) -> list[Goal]:
    """G1: any deployment fails now and then, before its first content."""
    goals = []
    for share, success, most in ((0.1, 0.998, 1.12), (0.05, 0.9995, 1.12), (0.01, 1.0, 1.12)):
        part = share / 3
        report = play(
            trace,
            Fault("status", chance=part, status=500),
            Fault("reset", chance=part),
            Fault("stall", chance=part),
        )
        seen = f"{report.success:.3%}, {report.attempts_per_request:.3f} attempts"
        holds = report.success >= success and report.attempts_per_request <= most
        asked = f">= {success:.2%}, <= {most}"
        goals.append(Goal(f"G1 {share:.0%} of attempts fail", seen, asked, holds))
    return goals


def dead_and_slow(trace: Sequence[Arrival], healthy: Report) -> list[Goal]:
    """G2, G3: one dead, a zone of nine dead, one ten times slow."""
    one = play(trace, Fault("dead", at=("ptu-eastus-1",)))
    wasted = one.attempt_errors["upstream_unavailable"]
    zone = play(trace, Fault("refused", at=("eu",), from_s=60, to_s=240))
    usual = healthy.ttft_s(0.99)
    goals = [
        Goal("G2 one dead", f"{one.success:.3%}, {wasted} wasted", "100%, <= 10", one.success == 1 and wasted <= 10),
        Goal("G2 nine dead for 3 min", f"{zone.success:.3%}", ">= 99.95%", zone.success >= 0.9995),
    ]  # fmt: skip
    for place in ("ptu-eastus-1", "ptu-koreacentral-1"):
        ratio = play(trace, Fault("slow", factor=10, at=(place,))).ttft_s(0.99) / usual
        where = "at home" if "korea" in place else "elsewhere"
        goals.append(
            Goal(f"G3 one {where} 10x slow", f"p99 TTFT {ratio:.2f}x", "<= 1.15x", ratio <= 1.15)
        )
    return goals


def outage(trace: Sequence[Arrival]) -> list[Goal]:
    """G4, G5: four of five attempts fail everywhere for a minute, then all is well."""
    report = play(trace, Fault("status", status=500, chance=0.8, from_s=60, to_s=120))
    during, after = _within(report, 60, 120), _within(report, 120, 135)
    attempts = sum(o.attempts for o in during) / max(1, len(during))
    return [
        Goal("G4 80% fail everywhere", f"{attempts:.3f} attempts", "<= 1.25", attempts <= 1.25),
        Goal("G5 15 s after it heals", f"{_good(after):.2%}", ">= 99%", _good(after) >= 0.99),
    ]


def capacity(runs: dict[tuple[str, float], Report]) -> list[Goal]:
    """G6: refusals at four fifths of the load, and what full load costs."""
    eased, full = runs["hamlet", 1.0], runs["hamlet", FULL]
    spilled = paid(full) / max(1e-9, paid(runs["strict order", FULL]))
    refused = eased.errors["rate_limited"] + full.errors["rate_limited"]
    return [
        Goal("G6 429s at 80% load", f"{eased.refusal_share:.2%}", "<= 0.5%", eased.refusal_share <= 0.005),
        Goal("G6 spill at 100% load", f"{spilled:.0%} of strict order's", "<= 60%", spilled <= 0.6),
        Goal("G6 429s seen by clients", str(refused), "0", refused == 0),
    ]  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def comparison(runs: dict[tuple[str, float], Report]) -> str:
    """All policies side by side."""
    rows = [["load", "policy", "success", "attempts", "429s", "paid", "TTFT p50", "p99", "tokens"]]
    for (policy, scale), r in runs.items():
        rows.append(
            ["81 %" if scale == 1 else "100 %", policy, f"{r.success:.3%}",
             f"{r.attempts_per_request:.3f}", f"{r.refusal_share:.2%}", f"{paid(r):.2%}",
             f"{r.ttft_s(0.5):.2f} s", f"{r.ttft_s(0.99):.2f} s", str(r.goodput_tokens)]
        )  # fmt: skip
    return table(rows)


def main() -> int:
    """Print both tables; 1 if a goal is missed."""
    options = argparse.ArgumentParser(prog="python -m loadtest.fleet", description=__doc__)
    options.add_argument("trace", nargs="?", type=Path)
    options.add_argument("--seconds", type=float, default=1200.0)
    given = options.parse_args()
    load: Callable[[], list[Arrival]] = (
        (lambda: read_trace(given.trace)) if given.trace else (lambda: generated(seed=1))
    )
    trace = between(load(), 0, given.seconds)
    runs = compare(trace)
    print(
        f"{len(trace)} requests in {given.seconds:g} s, 27 PTU deployments\n",
        comparison(runs),
        sep="\n",
    )
    goals = (
        capacity(runs) + faulty(trace) + dead_and_slow(trace, runs["hamlet", 1.0]) + outage(trace)
    )
    rows = [[g.name, g.seen, g.asked, "" if g.holds else "MISSED"] for g in goals]
    print("", table([["goal", "seen", "asked", ""], *rows]), sep="\n")
    return int(not all(goal.holds for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
