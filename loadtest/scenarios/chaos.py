"""Fuzz routing on virtual time, in several processes: `python -m loadtest.scenarios.chaos [SEEDS] [--first N]`.

Each seed sends some calls through the real gateway to a small simulated fleet with random faults,
clients that disconnect, deadlines and routes of every kind, and checks the invariants of
hamlet.simulator.invariants. A seed that violates one is printed: `1 --first SEED` repeats it exactly.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from hamlet.simulator.fuzz import fuzz

_SEEDS_PER_BATCH = 50
_MAX_REPORTED = 5


@dataclass(slots=True)
class SeedBatch:
    """The sums over some seeds. `violations` are (seed, report) of those that failed."""

    seeds: int = 0
    requests: int = 0
    attempts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: SeedBatch) -> None:
        self.seeds += other.seeds
        self.requests += other.requests
        self.attempts += other.attempts
        self.outcomes += other.outcomes
        self.violations += other.violations


def run_seeds(first: int, last: int) -> SeedBatch:
    """Run the seeds from `first` up to, but not including, `last`."""
    batch = SeedBatch(last - first)
    for seed in range(first, last):
        try:
            report = fuzz(seed)
        except Exception:
            batch.violations.append((seed, traceback.format_exc(limit=-6)))
            continue
        batch.requests += len(report.outcomes)
        batch.attempts += report.attempts
        batch.outcomes += report.errors
        batch.outcomes["succeeded"] += sum(o.ok for o in report.outcomes)
        batch.outcomes["client disconnected"] += sum(o.client_disconnected for o in report.outcomes)
    return batch


def main() -> int:
    """Run all seeds and print the sums; 1 if one violates an invariant."""
    options = argparse.ArgumentParser(
        prog="python -m loadtest.scenarios.chaos", description=__doc__
    )
    options.add_argument("seeds", nargs="?", type=int, default=10_000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args()
    last = given.first + given.seeds
    starts = range(given.first, last, _SEEDS_PER_BATCH)
    begun, total = time.monotonic(), SeedBatch()
    with ProcessPoolExecutor(given.processes) as pool:
        for batch in pool.map(
            run_seeds, starts, [min(at + _SEEDS_PER_BATCH, last) for at in starts]
        ):
            total.add(batch)
    seconds = time.monotonic() - begun
    print(
        f"{total.seeds} seeds, {total.requests} requests, {total.attempts} attempts: {seconds:.0f} s"
    )
    for end, count in total.outcomes.most_common():
        print(f"  {end:24}{count}")
    for seed, text in total.violations[:_MAX_REPORTED]:
        print(
            f"\nseed {seed} violates an invariant; to repeat it: python -m loadtest.scenarios.chaos 1 --first {seed}\n{text}"
        )
    print(
        f"\n{len(total.violations)} violations",
        *(f"seed {seed}" for seed, _ in total.violations),
        sep="\n  ",
    )
    return int(bool(total.violations))


if __name__ == "__main__":
    sys.exit(main())
