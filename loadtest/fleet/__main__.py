"""The fleet's goals on virtual time: `python -m loadtest.fleet [TRACE] [--seconds N] [--out DIR]`.

Plays a trace (a file, or one generated with the shape of the 750 rpm mix) against the real gateway
over the simulated fleet of 27 PTU deployments, prints a table, draws the policies side by side, and
fails where a goal is missed. Goals and their numbers: docs/results, and the fleet design's section 6.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hamlet.dashboards.line_chart import Picture
from hamlet.dashboards.simulated_history import compared, write
from hamlet.simulator.setting import load_of
from loadtest.fleet.goals import Reports, goals, tally
from loadtest.fleet.policies import POLICIES
from loadtest.fleet.runs import EASED, FULL, play_all

_LOADS = {EASED: "81 %", FULL: "100 %"}


def comparison(runs: Reports, seconds: float) -> list[list[str]]:
    """All policies side by side."""
    rows = [["load", "policy", "success", "attempts", "429s", "paid", "TTFT p50", "p99", "tokens"]]
    for scale, load in _LOADS.items():
        for policy in POLICIES:
            r = runs[f"{policy} {scale}"]
            rows.append(
                [load, policy, f"{r.success:.3%}", f"{r.attempts_per_request:.3f}",
                 f"{r.refusal_share:.2%}", f"{tally(r, seconds).paid():.2%}",
                 f"{r.ttft_s(0.5):.2f} s", f"{r.ttft_s(0.99):.2f} s", str(r.goodput_tokens)]
            )  # fmt: skip
    return rows


def pictures(runs: Reports, seconds: float) -> list[Picture]:
    """Goodput, spill, 429s and time to first token of every policy, at both loads."""
    drawn: list[Picture] = []
    for scale, load in _LOADS.items():
        tallies = {policy: tally(runs[f"{policy} {scale}"], seconds) for policy in POLICIES}
        drawn += [
            replace(p, name=f"{p.name}-{load.split()[0]}", title=f"{p.title}, at {load} load")
            for p in compared(tallies)
        ]
    return drawn


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def main() -> int:
    """Print both tables; 1 if a goal is missed."""
    options = argparse.ArgumentParser(prog="python -m loadtest.fleet", description=__doc__)
    options.add_argument("trace", nargs="?", type=Path)
    options.add_argument("--seconds", type=float, default=1200.0)
    options.add_argument("--out", type=Path, help="a folder for pictures")
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args()
    trace = load_of(given.trace, given.seconds, 750.0, seed=1)
    runs = play_all(trace, given.processes)
    about = f"{len(trace)} requests in {given.seconds:g} s, 27 PTU deployments"
    policies = comparison(runs, given.seconds)
    print(f"{about}\n", table(policies), sep="\n", flush=True)
    found = goals(runs)
    rows = [[g.name, g.seen, g.asked, "" if g.holds else "MISSED"] for g in found]
    print("", table([["goal", "seen", "asked", ""], *rows]), sep="\n")
    if given.out is not None:
        write(given.out, about, policies, pictures(runs, given.seconds))
        print(f"\npictures in {given.out}")
    return int(not all(goal.holds for goal in found))


if __name__ == "__main__":
    sys.exit(main())
