"""Goals of routing on virtual time: `python -m loadtest.scenarios.routing [TRACE] [--seconds N] [--out DIR]`.

Replays a trace (a file, or one generated in the shape of 750 mixed requests per minute) through the real
gateway to the simulated fleet of 27 PTU deployments, prints a table, draws a chart of each policy, and
exits with 1 if a goal of `goals.py` is missed. Measured results are in docs/results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hamlet.dashboards.line_chart import LineChart
from hamlet.dashboards.simulation_report import overlay_charts, write_report
from hamlet.simulator.simulation import load_arrivals
from loadtest.scenarios.routing.goals import Reports, evaluate_goals, load_breakdown
from loadtest.scenarios.routing.policies import POLICIES
from loadtest.scenarios.routing.runs import NORMAL_SCALE, SATURATED_SCALE, simulate_runs

_LOADS = {NORMAL_SCALE: "81 %", SATURATED_SCALE: "100 %"}


def comparison_rows(runs: Reports, seconds: float) -> list[list[str]]:
    """The table that compares the policies."""
    rows = [["load", "policy", "success", "attempts", "429s", "paid", "TTFT p50", "p99", "tokens"]]
    for scale, load in _LOADS.items():
        for policy in POLICIES:
            r = runs[f"{policy} {scale}"]
            rows.append(
                [load, policy, f"{r.success_ratio:.3%}", f"{r.attempts_per_request:.3f}",
                 f"{r.rate_limited_ratio:.2%}", f"{load_breakdown(r, seconds).pay_per_use_share():.2%}",
                 f"{r.ttft_s(0.5):.2f} s", f"{r.ttft_s(0.99):.2f} s", str(r.goodput_tokens)]
            )  # fmt: skip
    return rows


def policy_charts(runs: Reports, seconds: float) -> list[LineChart]:
    """Goodput, spill, 429s and time to first token of every policy, at both loads."""
    drawn: list[LineChart] = []
    for scale, load in _LOADS.items():
        tallies = {
            policy: load_breakdown(runs[f"{policy} {scale}"], seconds) for policy in POLICIES
        }
        drawn += [
            replace(p, name=f"{p.name}-{load.split()[0]}", title=f"{p.title}, at {load} load")
            for p in overlay_charts(tallies)
        ]
    return drawn


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as text in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def main() -> int:
    """Print the policies and the goals; 1 if a goal is missed."""
    options = argparse.ArgumentParser(
        prog="python -m loadtest.scenarios.routing", description=__doc__
    )
    options.add_argument("trace", nargs="?", type=Path)
    options.add_argument("--seconds", type=float, default=1200.0)
    options.add_argument("--out", type=Path, help="a folder for charts")
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args()
    trace = load_arrivals(given.trace, given.seconds, 750.0, seed=1)
    runs = simulate_runs(trace, given.processes)
    about = f"{len(trace)} requests in {given.seconds:g} s, 27 PTU deployments"
    policies = comparison_rows(runs, given.seconds)
    print(f"{about}\n", format_table(policies), sep="\n", flush=True)
    found = evaluate_goals(runs)
    rows = [[g.name, g.measured, g.target, "" if g.is_met else "MISSED"] for g in found]
    print("", format_table([["goal", "measured", "target", ""], *rows]), sep="\n")
    if given.out is not None:
        write_report(given.out, about, policies, policy_charts(runs, given.seconds))
        print(f"\ncharts in {given.out}")
    return int(not all(goal.is_met for goal in found))


if __name__ == "__main__":
    sys.exit(main())
