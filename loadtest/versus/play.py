"""One run of both."""

from __future__ import annotations

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from loadtest.engine import run
from loadtest.outcome import Run
from loadtest.scenario import Size
from loadtest.tools import commit, progress_bar
from loadtest.versus.asks import RATE, SCENARIO, shots, words
from loadtest.versus.report import Arm, tell, write
from loadtest.versus.stage import counted, stage

# The change of median and 95th percentile that is wished for.
MOST_CHANGE = -0.20


def perform(options: argparse.Namespace) -> int:
    """Play, write results and reports into `options.out`; gives the exit code.

    It is 1 if hamlet failed a request, 2 if the run says nothing. What was gained is only told.
    """
    out: Path = options.out / "versus"
    out.mkdir(parents=True, exist_ok=True)
    arms = _play(options.size, options.seed)
    for arm in arms:
        arm.run.save(out / f"{arm.slug}.json")
    print(tell(arms, MOST_CHANGE))
    write(arms, out, MOST_CHANGE)
    print(f"  {out / 'report.html'}")
    if any(arm.run.invalid for arm in arms):
        return 2
    return 1 if any(arm.failed for arm in arms[1:]) else 0


def _play(size: Size, seed: int) -> list[Arm]:
    planned, length = shots(size, seed), SCENARIO.length_s(size)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="versus-") as name:
        with stage(seed, Path(name)) as standing, progress_bar("versus", length) as progress:
            going = run(
                planned,
                standing.sides,
                words=words(seed),
                pids=standing.pids,
                progress=progress,
            )
            samples, looks = uvloop.run(going)
            told = {s.name: counted(s.url) for s in standing.sides[1:]}
    arms = []
    for side in standing.sides:
        mine = [sample for sample in samples if sample.side == side.name]
        for sample in mine:
            sample.side = "target"
        result = Run(
            scenario=SCENARIO.name,
            size=size,
            seed=seed,
            target=side.name,
            machine=f"{platform.machine()}, {platform.system()} {platform.release()}",
            commit=commit(),
            started_at=began,
            length_s=length,
            steps=[(0.0, RATE, length)],
            samples=mine,
            looks=looks[side.name],
        )
        arms.append(Arm(side.name, result, told.get(side.name, {})))
    return arms
