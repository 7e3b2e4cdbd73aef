"""Load tests.

    python -m loadtest run SCENARIO [--target URL] [--size ci|full | --minutes N] [--trace FILE] [--out DIR]
    python -m loadtest all [--size ci|full] [--without NAME,NAME] [--out DIR]
    python -m loadtest versus [--size ci|full] [--out DIR]
    python -m loadtest compare A B [--out FILE]
    python -m loadtest generate

`versus` compares the stand-in for hamlet1 with hamlet. Without a target, hamlet is started in front of
simulated vendors. The exit code is 0 if all checks pass, 1 if one fails, 2 if the run is invalid: its
figures are then not those of the target.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import tempfile
import time
import urllib.request
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from loadtest.bench.versus.run import run_versus as versus
from loadtest.engine import comparison as compare
from loadtest.engine.console import commit, progress_bar
from loadtest.engine.open_loop import LoadTarget, chat_requests, run_open_loop
from loadtest.engine.report import write_report
from loadtest.engine.results import RunResult
from loadtest.engine.scenario import Scenario, Size, load_scenarios
from loadtest.engine.schedule import build_schedule
from loadtest.engine.testbed import KEY, GatewayTestbed, start_testbed
from loadtest.tools import generate

TRACES = Path("traces")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "generate":
        generate.write_files()
        return 0
    if options.command == "compare":
        print(
            compare.write_comparison(
                RunResult.read(options.a), RunResult.read(options.b), options.out
            )
        )
        return 0
    if options.command == "versus":
        return versus(options)
    known = load_scenarios()
    excluded = options.without.split(",") if options.command == "all" and options.without else []
    names = list(known) if options.command == "all" else [options.scenario]
    if not {*names, *excluded} <= set(known):
        print(f"no such scenario; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    try:
        chosen = [_apply_options(known[name], options) for name in names if name not in excluded]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return max(run_scenario(scenario, options) for scenario in chosen)


def _apply_options(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    """The scenario with the length and trace of the options. Raises ValueError."""
    if options.minutes is not None:
        options.size = "full"
        scenario = scenario.with_length(options.minutes)
    if options.trace is not None:
        if scenario.trace is None:
            raise ValueError(f"{scenario.name} replays no trace")
        if not options.trace.is_file():
            raise ValueError(f"{options.trace}: no such file")
        scenario = scenario.model_copy(update={"trace": str(options.trace.resolve())})
    return scenario


def run_scenario(scenario: Scenario, options: argparse.Namespace) -> int:
    """Run one scenario, write its result and report, and print its checks; the exit code."""
    size: Size = options.size
    out: Path = options.out / scenario.name
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        own = None if options.target else start_testbed(scenario, size, Path(folder))
        with own or nullcontext() as testbed:
            result = _run(scenario, size, testbed, options)
    passed = result.evaluate_checks(scenario.checks_for(size))
    result.save(out / "result.json")
    write_report(result, out / "report.html")
    _print_result(result, out)
    if result.invalid:
        return 2
    return 0 if passed else 1


def _run(
    scenario: Scenario, size: Size, testbed: GatewayTestbed | None, options: argparse.Namespace
) -> RunResult:
    requests = build_schedule(scenario, size, options.seed, options.traces)
    sides = [
        testbed.target
        if testbed
        else LoadTarget("target", options.target, options.key, options.model)
    ]
    if scenario.direct and testbed:
        sides.append(testbed.direct)
    elif scenario.direct and options.direct_url:
        sides.append(LoadTarget("direct", options.direct_url, options.key, options.model))
    pid = testbed.pid if testbed else options.pid
    began, length = datetime.now(UTC).isoformat(timespec="seconds"), scenario.length_s(size)
    with progress_bar(scenario.name, length) as progress:
        run = run_open_loop(
            requests,
            sides,
            make_request=chat_requests(scenario.prompt_bytes),
            pids={"target": pid} if pid else {},
            abort_lag_s=1.0 if scenario.until_broken else math.inf,
            progress=progress,
        )
        samples, resource_samples = uvloop.run(run)
    starts, steps = 0.0, []
    for step in scenario.steps(size):
        steps.append((starts, step.end_rate, step.length_s))
        starts += step.length_s
    return RunResult(
        scenario=scenario.name,
        size=size,
        seed=options.seed,
        target=options.target or "hamlet over simulated vendors, all on this machine",
        machine=f"{platform.machine()}, {platform.system()} {platform.release()}",
        commit=commit(),
        started_at=began,
        length_s=length,
        steps=steps,
        samples=samples,
        looks=resource_samples["target"],
        in_flight_after=_fetch_in_flight(sides[0].url),
        until_broken=scenario.until_broken,
    )


def _fetch_in_flight(url: str) -> float | None:
    """The gauge of calls in flight, polled for half a second after the last call ended; None elsewhere."""
    for _ in range(10):
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310
                rows = answer.read().decode().splitlines()
        except OSError:
            return None
        left = next(
            (float(r.split()[1]) for r in rows if r.startswith("hamlet_calls_in_flight ")), None
        )
        if not left:
            return left
        time.sleep(0.05)
    return left


def _print_result(result: RunResult, out: Path) -> None:
    figures = result.figures()
    print(f"{result.scenario}: {figures['requests']:.0f} requests, {dict(result.outcome_counts())}")
    for check in result.verdicts:
        bound = f"<= {check['at_most']}" if "at_most" in check else f">= {check['at_least']}"
        mark = "ok  " if check["passed"] else "FAIL"
        value = "unknown" if check["value"] is None else f"{check['value']:.4g}"
        print(f"  {mark} {check['figure']} {value} ({bound})")
    if result.invalid:
        print(f"  INVALID: {result.invalid}")
    print(f"  {out / 'report.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loadtest", description="Load tests of a gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--target", help="a base URL; hamlet is started without it")
    common.add_argument(
        "--beside", dest="direct_url", help="base URL of the upstream, to measure the overhead"
    )
    common.add_argument("--key", default=KEY)
    common.add_argument("--model", default="model")
    common.add_argument("--pid", type=int, help="process id of the target, for CPU and memory")
    common.add_argument("--size", choices=["ci", "full"], default="ci")
    common.add_argument("--seed", type=int, default=1)
    common.add_argument(
        "--traces",
        type=Path,
        default=TRACES,
        help="recorded traces; generated if the file is absent",
    )
    common.add_argument("--minutes", type=float, help="length of the run, in full size")
    common.add_argument("--trace", type=Path, help="replay this file (replay)")
    common.add_argument("--out", type=Path, default=Path("load-results"))
    one = commands.add_parser("run", parents=[common], help="run one scenario")
    one.add_argument("scenario")
    every = commands.add_parser("all", parents=[common], help="run every scenario")
    every.add_argument("--without", help="names to leave out, with , between")
    both = commands.add_parser("versus", help="compare hamlet1 with hamlet")
    both.add_argument("--size", choices=["ci", "full"], default="ci")
    both.add_argument("--seed", type=int, default=1)
    both.add_argument("--out", type=Path, default=Path("load-results"))
    two = commands.add_parser("compare", help="compare two results")
    two.add_argument("a", type=Path)
    two.add_argument("b", type=Path)
    two.add_argument("--out", type=Path, default=Path("comparison.html"))
    commands.add_parser("generate", help="write the Gatling simulation and the locustfile")
    return parser


if __name__ == "__main__":
    sys.exit(main())
