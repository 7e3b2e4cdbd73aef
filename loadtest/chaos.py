"""G15: seeds of chaos on virtual time, in processes: `python -m loadtest.chaos [SEEDS] [--first N]`.

Each seed plays some calls against the real gateway over a small fleet with random faults, clients
that leave, deadlines and routes of every kind, and watches what must hold (see
hamlet.simulator.invariants). A seed that breaks it is printed: `1 --first SEED` plays it
again, the same.
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

_BATCH = 50
_SHOWN = 5


@dataclass(slots=True)
class Batch:
    """What came of some seeds. `broken` has seed and report of those that failed."""

    seeds: int = 0
    requests: int = 0
    attempts: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Batch) -> None:
        self.seeds += other.seeds
        self.requests += other.requests
        self.attempts += other.attempts
        self.ends += other.ends
        self.broken += other.broken


def play(first: int, last: int) -> Batch:
    """The seeds from `first` up to, and without, `last`."""
    batch = Batch(last - first)
    for seed in range(first, last):
        try:
            report = fuzz(seed)
        except Exception:
            batch.broken.append((seed, traceback.format_exc(limit=-6)))
            continue
        batch.requests += len(report.outcomes)
        batch.attempts += report.attempts
        batch.ends += report.errors
        batch.ends["answered"] += sum(o.ok for o in report.outcomes)
        batch.ends["left by the client"] += sum(o.left for o in report.outcomes)
    return batch


def main() -> int:
    """Play all and print what came of them; 1 if any is broken."""
    options = argparse.ArgumentParser(prog="python -m loadtest.chaos", description=__doc__)
    options.add_argument("seeds", nargs="?", type=int, default=10_000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args()
    last = given.first + given.seeds
    starts = range(given.first, last, _BATCH)
    begun, whole = time.monotonic(), Batch()
    with ProcessPoolExecutor(given.processes) as pool:
        for batch in pool.map(play, starts, [min(at + _BATCH, last) for at in starts]):
            whole.add(batch)
    seconds = time.monotonic() - begun
    print(
        f"{whole.seeds} seeds, {whole.requests} requests, {whole.attempts} attempts: {seconds:.0f} s"
    )
    for end, count in whole.ends.most_common():
        print(f"  {end:24}{count}")
    for seed, text in whole.broken[:_SHOWN]:
        print(f"\nseed {seed} is broken; again: python -m loadtest.chaos 1 --first {seed}\n{text}")
    print(
        f"\n{len(whole.broken)} broken", *(f"seed {seed}" for seed, _ in whole.broken), sep="\n  "
    )
    return int(bool(whole.broken))


if __name__ == "__main__":
    sys.exit(main())
