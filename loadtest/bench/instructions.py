"""What a plain call costs in instructions and cache misses, which no machine's mood changes.

    python -m loadtest.bench.instructions [--against REF] [--only "NAME;NAME"] [--seconds S]

valgrind's callgrind counts while wrk asks over two connections. It pretends the same caches
everywhere, so figures of two trees can be compared on any machine, whatever else runs there. REF is
another state of the repository; NAMEs are the bench's contenders. What hamlet does beside its calls
(ten wake-ups a second) counts too, some three per cent, as everything takes fifty times as long.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench import gateways
from loadtest.bench.rounds import run_wrk
from loadtest.bench.stand import Bench, Contender, ContenderSpec, contender_specs

# callgrind knows two levels of caches; its last stands for a core's own second one.
_CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")
_WARMUP_S, _CONNECTIONS = 8.0, 2


@dataclass(frozen=True, slots=True)
class InstructionCount:
    """A call's instructions, and its misses of the caches of code, of data, and of the second."""

    name: str
    instructions: float
    code_misses: float
    data_misses: float
    second_level_misses: float


def main() -> None:
    """Count one contender after the other, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", default="", help="a commit, branch or tag")
    parser.add_argument("--only", default="hamlet", help="names, with ; between")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        with Bench(Path(name), options.environments) as bench:
            wanted = contender_specs(bench.cert)
            entries = {each: wanted[each] for each in options.only.split(";")}
            if options.against:
                source = _checkout(options.against, Path(name) / "against")
                entries[f"hamlet at {options.against}"] = ContenderSpec(_launcher_from(source))
            counts = [
                _count_instructions(bench, each, entry, options.seconds)
                for each, entry in entries.items()
            ]
    print(markdown_table([count for count in counts if count is not None]))


def markdown_table(counts: list[InstructionCount]) -> str:
    """Markdown; the first row is what the others are compared with."""
    lines = [
        "| gateway | instructions a call | beside the first | misses: code | data | second level |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in counts:
        ratio = each.instructions / counts[0].instructions
        row = [f"{each.instructions:,.0f}", f"{ratio:.3f}x"]
        row += [
            f"{misses:,.0f}"
            for misses in (each.code_misses, each.data_misses, each.second_level_misses)
        ]
        lines.append(f"| {each.name} | {' | '.join(row)} |")
    return "\n".join(lines)


def _count_instructions(
    bench: Bench, name: str, entry: ContenderSpec, seconds: float
) -> InstructionCount | None:
    dump_file = bench.folder / re.sub(r"\W+", "-", name)
    contender = bench.start(name, replace(entry, launcher=_valgrind_launcher(entry, dump_file)))
    if contender is None:
        print(f"{name}: not here")
        return None
    try:
        _callgrind_control(contender, "--instr=on")
        _run_load(bench, contender, _WARMUP_S)
        _callgrind_control(contender, "--zero")
        calls = _run_load(bench, contender, seconds)
        _callgrind_control(contender, "--dump")
        return _parse_dump(name, _wait_for_dump(dump_file), calls)
    finally:
        bench.stop(contender)


def _valgrind_launcher(entry: ContenderSpec, dump_file: Path) -> gateways.Launcher:
    def launch(
        port: int, upstream: str, folder: Path, environments: Path
    ) -> gateways.Launch | None:
        launch_spec = entry.launcher(port, upstream, folder, environments)
        if launch_spec is None:
            return None
        counting = ["--tool=callgrind", "--cache-sim=yes", *_CACHES, "--instr-atstart=no"]
        valgrind = ["valgrind", *counting, f"--callgrind-out-file={dump_file}"]
        # The order of sets and dictionaries of text would differ from run to run.
        env = {**launch_spec.env, "PYTHONHASHSEED": "0"}
        return replace(launch_spec, command=[*valgrind, *launch_spec.command], env=env)

    return launch


def _launcher_from(source: Path) -> gateways.Launcher:
    """hamlet out of another folder than this checkout's."""

    def launch(port: int, upstream: str, folder: Path, environments: Path) -> gateways.Launch:
        launch_spec = gateways.hamlet()(port, upstream, folder, environments)
        return replace(launch_spec, env={**launch_spec.env, "PYTHONPATH": str(source)})

    return launch


def _checkout(ref: str, folder: Path) -> Path:
    """The sources of another state of the repository."""
    command = ["git", "archive", "--format=tar", ref, "src"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    return folder / "src"


def _run_load(bench: Bench, contender: Contender, seconds: float) -> int:
    """Put it under load; returns how many requests it answered. Raises RuntimeError for errors."""
    url = contender.url + contender.entry.path
    measured = run_wrk(
        url,
        contender.lua,
        contender.process,
        bench.processes,
        _CONNECTIONS,
        seconds,
        bench.plain_url,
    )
    if measured.errors:
        raise RuntimeError(
            f"{contender.name}: {measured.errors} of {measured.requests} requests failed"
        )
    return measured.requests


def _callgrind_control(contender: Contender, command_option: str) -> None:
    command = ["callgrind_control", command_option, str(contender.process.pid)]
    subprocess.run(command, check=True, capture_output=True)


def _wait_for_dump(dump_file: Path, within_s: float = 30.0) -> str:
    """What was counted; the file is written while the program runs on."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for file in dump_file.parent.glob(f"{dump_file.name}.*"):
            if "\ntotals: " in (text := file.read_text()):
                return text
        time.sleep(0.1)
    raise RuntimeError("callgrind wrote nothing")


def _parse_dump(name: str, text: str, calls: int) -> InstructionCount:
    """A dump's totals by call."""
    events, totals = (re.search(rf"^{word}: (.*)$", text, re.M) for word in ("events", "totals"))
    if events is None or totals is None:
        raise RuntimeError("callgrind's file is not what it was")
    sums: Mapping[str, int] = dict(
        zip(events[1].split(), map(int, totals[1].split()), strict=False)
    )

    def by_call(*kinds: str) -> float:
        return sum(sums.get(kind, 0) for kind in kinds) / calls

    second = by_call("ILmr", "DLmr", "DLmw")
    return InstructionCount(name, by_call("Ir"), by_call("I1mr"), by_call("D1mr", "D1mw"), second)


if __name__ == "__main__":
    main()
