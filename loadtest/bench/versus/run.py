"""One run of hamlet1 and hamlet at the same time."""

from __future__ import annotations

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from loadtest.bench.versus.report import ArmResult, render_text, write_reports
from loadtest.bench.versus.requests import RATE, SCENARIO, build_versus_schedule, request_factory
from loadtest.bench.versus.testbed import fetch_counters, start_testbed
from loadtest.engine.console import commit, progress_bar
from loadtest.engine.open_loop import run_open_loop
from loadtest.engine.results import RunResult
from loadtest.engine.scenario import Size

# The target for the change of the median and the 95th percentile.
TARGET_CHANGE = -0.20


def run_versus(options: argparse.Namespace) -> int:
    """Run, and write results and reports into `options.out`; the exit code.

    It is 1 if hamlet failed a request and 2 if the run is invalid. The target is only reported.
    """
    out: Path = options.out / "versus"
    out.mkdir(parents=True, exist_ok=True)
    arms = _run_arms(options.size, options.seed)
    for arm in arms:
        arm.run.save(out / f"{arm.slug}.json")
    print(render_text(arms, TARGET_CHANGE))
    write_reports(arms, out, TARGET_CHANGE)
    print(f"  {out / 'report.html'}")
    if any(arm.run.invalid for arm in arms):
        return 2
    return 1 if any(arm.failed_share for arm in arms[1:]) else 0


def _run_arms(size: Size, seed: int) -> list[ArmResult]:
    requests, length = build_versus_schedule(size, seed), SCENARIO.length_s(size)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="versus-") as name:
        with start_testbed(seed, Path(name)) as testbed, progress_bar("versus", length) as progress:
            run = run_open_loop(
                requests,
                testbed.sides,
                make_request=request_factory(seed),
                pids=testbed.pids,
                progress=progress,
            )
            samples, resource_samples = uvloop.run(run)
            counters = {s.name: fetch_counters(s.url) for s in testbed.sides[1:]}
    arms = []
    for side in testbed.sides:
        own_samples = [sample for sample in samples if sample.side == side.name]
        for sample in own_samples:
            sample.side = "target"
        result = RunResult(
            scenario=SCENARIO.name,
            size=size,
            seed=seed,
            target=side.name,
            machine=f"{platform.machine()}, {platform.system()} {platform.release()}",
            commit=commit(),
            started_at=began,
            length_s=length,
            steps=[(0.0, RATE, length)],
            samples=own_samples,
            looks=resource_samples[side.name],
        )
        arms.append(ArmResult(side.name, result, counters.get(side.name, {})))
    return arms
