"""Compare hamlet with other gateways.

    python -m loadtest.bench.peers [--only "NAME;NAME"] [--parts cpu,paced,streams,held] [--short]
                             [--rounds N] [--seconds S] [--out DIR]

All gateways run on one core, the upstream and the load generator on another; rounds are interleaved.
The figure that counts is CPU time per request, which hardly depends on other load of the machine. The
other gateways are installed by deploy/peers.sh; those that are missing are left out and reported.

cpu      closed loop by wrk: CPU per request, start-up, memory, connections to the upstream
paced    open loop at 12.5 and 200 requests per second: latency added to a direct call
streams  500 streams of ten chunks per second: CPU per chunk, memory per stream
held     how long a call of a megabyte blocks hamlet's event loop
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import uvloop

from loadtest.bench.peers.added_latency import AddedLatency, measure_added_latency
from loadtest.bench.peers.loop_blocking import LoopBlocking, measure_loop_blocking
from loadtest.bench.peers.report import Findings, write_report
from loadtest.bench.peers.streaming import StreamingResult, measure_streaming
from loadtest.bench.rounds import GatewayResult, run_wrk, summarize_rounds
from loadtest.bench.stand import Bench, Contender, ContenderSpec, contender_specs
from loadtest.engine.processes import pss_mib

PARTS = ("cpu", "paced", "streams", "held")


def main() -> None:
    """Run the bench and write table.md, plots and result.json."""
    options = _options()
    # This process is part of the load generator.
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        with Bench(Path(name), options.environments) as bench:
            tables = measure(bench, options)
    print(tables)


def measure(bench: Bench, options: argparse.Namespace) -> str:
    """Measure the parts of the options one after another, and write the report after each."""
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = contender_specs(bench.cert)
    names = options.only.split(";") if options.only else list(wanted)
    entries = {name: wanted[name] for name in names}
    results: list[GatewayResult] = []
    added: list[AddedLatency] = []
    chunks: list[StreamingResult] = []
    loop_blocking: list[LoopBlocking] = []
    # First, while no other gateway runs on the core.
    if "held" in options.parts:
        loop_blocking = uvloop.run(measure_loop_blocking(bench, 20 if options.short else 200))
    if "cpu" in options.parts or "paced" in options.parts:
        results, added = _measure_started(bench, entries, options)

    def write_findings() -> str:
        missing = list(dict.fromkeys(bench.missing))
        return write_report(Findings(results, added, chunks, loop_blocking, missing), options.out)

    tables = write_findings()
    if "streams" in options.parts:
        rounds, seconds = (1, 3.0) if options.short else (3, 8.0)
        chunks = measure_streaming(bench, entries, rounds, seconds)
        tables = write_findings()
    return tables


def _measure_started(
    bench: Bench, entries: dict[str, ContenderSpec], options: argparse.Namespace
) -> tuple[list[GatewayResult], list[AddedLatency]]:
    started = (bench.start(name, entry) for name, entry in entries.items())
    running = [one for one in started if one is not None]
    for number in range(options.rounds + 1):
        for contender in running:
            _run_round(bench, contender, number, options)
    results = [
        summarize_rounds(
            one.name,
            one.rounds,
            one.start_s,
            one.idle_mib,
            pss_mib(one.process.pid),
            one.entry.uses_tls,
            one.entry.is_hamlet_variant,
        )
        for one in running
    ]
    added: list[AddedLatency] = []
    if "paced" in options.parts:
        rounds, seconds = (1, 8.0) if options.short else (5, 20.0)
        added = measure_added_latency(
            bench, running, {r.name: r.us for r in results}, rounds, seconds
        )
    for contender in running:
        bench.stop(contender)
    return results, added


def _run_round(
    bench: Bench, contender: Contender, number: int, options: argparse.Namespace
) -> None:
    seconds = options.seconds if number else min(options.seconds, 2)
    measured = run_wrk(
        contender.url + contender.entry.path,
        contender.lua,
        contender.process,
        bench.processes,
        options.connections,
        seconds,
        bench.plain_url,
    )
    # The first round only warms up connections and code.
    if number:
        contender.rounds.append(measured)
        noise = f"steal {measured.noise.steal:.2f} others {measured.noise.others:.2f}"
        print(f"{number} {contender.name:28} {measured.cpu_us:9.1f} us  {noise}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="names, with ; between")
    parser.add_argument("--parts", default=",".join(PARTS), help="with , between")
    parser.add_argument(
        "--short", action="store_true", help="check that it runs; the figures mean nothing"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options.rounds = options.rounds or (1 if options.short else 5)
    options.seconds = options.seconds or (2.0 if options.short else 4.0)
    return options


if __name__ == "__main__":
    main()
