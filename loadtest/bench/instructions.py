"""Instructions and cache misses of a plain call and of a cached `/v1/suggest`, by callgrind.

    python -m loadtest.bench.instructions [--against REF] [--only "NAME;NAME"] [--seconds S] [--rounds N]

CPU times vary with whatever else the machine does; instruction counts do not. valgrind's callgrind
counts while wrk sends requests over two connections, and simulates the same caches on every machine,
so the figures of two trees can be compared. REF is another commit, branch or tag of this repository,
NAMEs are contenders of `make bench`. Each contender is restarted in every round and the table has
the medians. hamlet's periodic tasks are counted too: about three per cent, since everything takes some
fifty times as long under valgrind.
"""

from __future__ import annotations

import argparse
import compileall
import io
import json
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench import gateways
from loadtest.bench.rounds import run_wrk
from loadtest.bench.stand import SUGGEST, Bench, Contender, ContenderSpec, contender_specs

# callgrind simulates two cache levels; the last one here has the size of a core's own second level.
_CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")
_WARMUP_S, _CONNECTIONS, _CACHE_FILL_TIMEOUT_S, _ATTEMPTS = 8.0, 2, 60.0, 3
_DEFAULT_CONTENDERS = "hamlet;hamlet, suggest from cache"


@dataclass(frozen=True, slots=True)
class InstructionCount:
    """Instructions and cache misses per call; misses of the code, data and second-level caches."""

    name: str
    instructions: float
    code_misses: float
    data_misses: float
    second_level_misses: float


def main() -> None:
    """Count every contender, here and at the other commit, and print a table of medians."""
    options = _parse_options()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        with Bench(Path(name), options.environments) as bench:
            known = contender_specs(bench.cert)
            specs = {each: known[each] for each in options.only.split(";")}
            other = _checkout(options.against, Path(name) / "against") if options.against else None
            rounds = [
                _count_round(bench, specs, options.seconds, other) for _ in range(options.rounds)
            ]
    names = [name for name in specs if name in rounds[0]]
    pairs = [
        tuple(map(_median, zip(*(each[name] for each in rounds), strict=True))) for name in names
    ]
    if options.against:
        print(comparison_table(options.against, [(pair[0], pair[1]) for pair in pairs]))
    else:
        print(markdown_table([pair[0] for pair in pairs]))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--against", default="", help="a commit, branch or tag")
    parser.add_argument("--only", default=_DEFAULT_CONTENDERS, help="names, with ; between")
    parser.add_argument("--seconds", type=float, default=15.0, help="counted in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--environments", type=Path, default=Path(".peers"))
    return parser.parse_args()


def _count_round(
    bench: Bench, specs: Mapping[str, ContenderSpec], seconds: float, other: Path | None
) -> dict[str, list[InstructionCount]]:
    """One count of each contender that is installed: of this tree, then of the other one."""
    counts: dict[str, list[InstructionCount]] = {}
    for name, spec in specs.items():
        trees = [spec]
        if other is not None:
            trees.append(replace(spec, launcher=_launcher_from(other, spec.launcher)))
        found = [_count_instructions(bench, name, each, seconds) for each in trees]
        counts[name] = [count for count in found if count is not None]
        if len(counts[name]) < len(trees):
            del counts[name]
    return counts


def _median(counts: Sequence[InstructionCount]) -> InstructionCount:
    """The median of each figure."""
    return InstructionCount(
        counts[0].name,
        statistics.median(each.instructions for each in counts),
        statistics.median(each.code_misses for each in counts),
        statistics.median(each.data_misses for each in counts),
        statistics.median(each.second_level_misses for each in counts),
    )


def markdown_table(counts: Sequence[InstructionCount]) -> str:
    """Markdown; every row is compared with the first."""
    lines = [
        "| gateway | instructions a call | ratio to the first | misses: code | data | second level |",
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


def comparison_table(ref: str, pairs: Sequence[tuple[InstructionCount, InstructionCount]]) -> str:
    """Markdown of (this tree, the tree at `ref`); the columns of misses are ratios too."""
    lines = [
        f"| gateway | instructions a call | at {ref} | ratio | misses: code | data | second level |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for now, before in pairs:
        ratios = (
            now.instructions / before.instructions,
            now.code_misses / before.code_misses,
            now.data_misses / before.data_misses,
            now.second_level_misses / before.second_level_misses,
        )
        row = [now.name, f"{now.instructions:,.0f}", f"{before.instructions:,.0f}"]
        row += [f"{ratio:.3f}x" for ratio in ratios]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _count_instructions(
    bench: Bench, name: str, entry: ContenderSpec, seconds: float
) -> InstructionCount | None:
    dump_file = bench.folder / re.sub(r"\W+", "-", name)
    contender = bench.start(name, replace(entry, launcher=_valgrind_launcher(entry, dump_file)))
    if contender is None:
        print(f"{name}: not installed")
        return None
    try:
        if entry.path == SUGGEST and entry.is_cached:
            _wait_until_cached(contender)
        _callgrind_control(contender, "--instr=on")
        _count_calls(bench, contender, _WARMUP_S)
        calls = _count_calls(bench, contender, seconds)
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
        # With random hashes of strings, the order of sets would differ from run to run.
        env = {**launch_spec.env, "PYTHONHASHSEED": "0"}
        return replace(launch_spec, command=[*valgrind, *launch_spec.command], env=env)

    return launch


def _wait_until_cached(contender: Contender) -> None:
    """Send each body until the response comes from the cache. Raises RuntimeError."""
    url, end = contender.url + contender.entry.path, time.monotonic() + _CACHE_FILL_TIMEOUT_S
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateways.KEY}"}
    for body in contender.entry.bodies:
        while not _is_cached(urllib.request.Request(url, body, headers)):  # noqa: S310
            if time.monotonic() > end:
                raise RuntimeError(f"{contender.name}: no response from the cache")
            time.sleep(0.2)


def _is_cached(request: urllib.request.Request) -> bool:
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        shown = json.load(response)
    return {shown["chips"]["tier"], shown["links"]["tier"]} == {"cache"}


def _launcher_from(source: Path, launcher: gateways.Launcher) -> gateways.Launcher:
    """hamlet from another folder than this checkout's, found before what is installed."""

    def launch(
        port: int, upstream: str, folder: Path, environments: Path
    ) -> gateways.Launch | None:
        launch_spec = launcher(port, upstream, folder, environments)
        if launch_spec is None:
            return None
        return replace(launch_spec, env={**launch_spec.env, "PYTHONPATH": str(source)})

    return launch


def _checkout(ref: str, folder: Path) -> Path:
    """The sources of another commit, with its entry points: modules have other names there."""
    command = ["git", "archive", "--format=tar", ref, "src", "pyproject.toml"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    source = folder / "src"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = source / f"hamlet-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: hamlet\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(_entry_points_text(project["entry-points"]))
    compileall.compile_dir(source, quiet=1)
    return source


def _entry_points_text(groups: Mapping[str, Mapping[str, str]]) -> str:
    """The format of https://packaging.python.org/en/latest/specifications/entry-points/."""
    lines: list[str] = []
    for group, rows in groups.items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in rows.items())]
    return "\n".join(lines) + "\n"


def _count_calls(bench: Bench, contender: Contender, seconds: float) -> int:
    """Count from zero while calls are sent; the number of calls.

    On a busy machine the gateway may reject some: then it is counted again, at most twice. Raises
    RuntimeError if calls still fail.
    """
    for retries_left in range(_ATTEMPTS - 1, -1, -1):
        _callgrind_control(contender, "--zero")
        try:
            return _run_load(bench, contender, seconds)
        except RuntimeError as error:
            if not retries_left:
                raise
            print(f"{error}; counting again", file=sys.stderr)
    raise AssertionError("unreachable")


def _run_load(bench: Bench, contender: Contender, seconds: float) -> int:
    """Send requests for `seconds`; how many succeeded. Raises RuntimeError if one failed."""
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
    """The dump's text, once it is complete: the program runs on while callgrind writes it."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for file in dump_file.parent.glob(f"{dump_file.name}.*"):
            if "\ntotals: " in (text := file.read_text()):
                return text
        time.sleep(0.1)
    raise RuntimeError("callgrind wrote no dump")


def _parse_dump(name: str, text: str, calls: int) -> InstructionCount:
    """A dump's totals divided by the number of calls. Raises RuntimeError for another format."""
    events, totals = (re.search(rf"^{word}: (.*)$", text, re.M) for word in ("events", "totals"))
    if events is None or totals is None:
        raise RuntimeError("callgrind's dump has no totals")
    sums: Mapping[str, int] = dict(
        zip(events[1].split(), map(int, totals[1].split()), strict=False)
    )

    def by_call(*kinds: str) -> float:
        return sum(sums.get(kind, 0) for kind in kinds) / calls

    second = by_call("ILmr", "DLmr", "DLmw")
    return InstructionCount(name, by_call("Ir"), by_call("I1mr"), by_call("D1mr", "D1mw"), second)


if __name__ == "__main__":
    main()
