"""Rounds of closed-loop load by wrk, the machine's noise during them, and their summary."""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from loadtest.bench.gateways import KEY
from loadtest.engine.processes import CpuTimes, Process, cpu_s

MIN_QUIET_ROUNDS = 3
MAX_STEAL, MAX_OTHERS = 0.03, 0.35


@dataclass(frozen=True, slots=True)
class Noise:
    """Other load during a measurement: shares of a core stolen by the hypervisor, and used by other programs."""

    seconds: float
    steal: float
    others: float

    @property
    def is_quiet(self) -> bool:
        """Whether the noise is low enough for the measurement to count."""
        return self.steal <= MAX_STEAL and self.others <= MAX_OTHERS

    @property
    def total(self) -> float:
        return self.steal + self.others


class NoiseMeter:
    """Measures the noise since it was made. The CPU time of `own_processes` is no noise."""

    def __init__(self, own_processes: Sequence[Process]) -> None:
        self._own_processes = own_processes
        self._begin = time.monotonic()
        self._start_times, self._start_own_cpu_s = CpuTimes.read(), self._own_cpu_s()

    def read_noise(self) -> Noise:
        """The noise since this meter was made."""
        elapsed_s, now = time.monotonic() - self._begin, CpuTimes.read()
        other_cpu_s = (
            now.busy_s - self._start_times.busy_s - (self._own_cpu_s() - self._start_own_cpu_s)
        )
        return Noise(
            elapsed_s,
            (now.steal_s - self._start_times.steal_s) / elapsed_s,
            max(0.0, other_cpu_s) / elapsed_s,
        )

    def _own_cpu_s(self) -> float:
        """CPU seconds of the bench, of children that have ended, and of its processes."""
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in own) + sum(
            cpu_s(p.pid) for p in self._own_processes
        )


class HasNoise(Protocol):
    """A measurement with its noise."""

    @property
    def noise(self) -> Noise: ...


N = TypeVar("N", bound=HasNoise)


def select_quiet(rounds: Sequence[N]) -> list[N]:
    """The quiet rounds; if there are too few, the quietest ones, which the report then says."""
    quiet = [each for each in rounds if each.noise.is_quiet]
    if len(quiet) >= min(MIN_QUIET_ROUNDS, len(rounds)):
        return quiet
    return sorted(rounds, key=lambda each: each.noise.total)[:MIN_QUIET_ROUNDS]


@dataclass(frozen=True, slots=True)
class Round:
    """One gateway under load. `opened` is the number of connections that its upstream accepted."""

    requests: int
    errors: int
    gateway_cpu_s: float
    opened: int
    noise: Noise

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the gateway per request."""
        return self.gateway_cpu_s / max(self.requests, 1) * 1e6


@dataclass(frozen=True, slots=True)
class GatewayResult:
    """The result of one gateway: medians of its quiet rounds, and the lowest round.

    `us` is CPU microseconds per request, `of_ours` marks a hamlet variant.
    """

    name: str
    us: float
    us_min: float
    rps: float
    kept: int
    rounds: int
    errors: int
    start_s: float
    idle_mib: float
    loaded_mib: float
    opened_per_10k: float | None
    of_ours: bool

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def write_wrk_script(folder: Path, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Path:
    """Write a wrk script that posts `bodies` in turn with the key; its path."""
    lines = ['wrk.method = "POST"']
    every = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in every.items()]
    texts = ", ".join(json.dumps(body.decode()) for body in bodies)
    lines += [f"local bodies, i = {{{texts}}}, 0", "local made = {}"]
    # Formatted once: wrk shares the upstream's core.
    lines.append("init = function() for n, b in ipairs(bodies) do made[n] = ")
    lines.append("  wrk.format(nil, nil, nil, b) end end")
    lines.append("request = function() i = i % #made + 1; return made[i] end")
    file = folder / "wrk.lua"
    file.write_text("\n".join(lines))
    return file


def run_wrk(
    url: str,
    lua: Path,
    gateway: Process,
    own_processes: list[Process],
    connections: int,
    seconds: float,
    upstream: str,
) -> Round:
    """One round of `seconds` seconds over `connections` connections."""
    before, noise_meter, opened = (
        cpu_s(gateway.pid),
        NoiseMeter(own_processes),
        _fetch_accepted_connections(upstream),
    )
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    text = subprocess.run(
        [*command, "--timeout", "20s", "-s", str(lua), url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    used, noise = cpu_s(gateway.pid) - before, noise_meter.read_noise()
    found = re.search(r"(\d+) requests in", text)
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    errors += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    return Round(
        requests=int(found[1]) if found else 0,
        errors=errors,
        gateway_cpu_s=used,
        # One of them is this query itself.
        opened=_fetch_accepted_connections(upstream) - opened - 1,
        noise=noise,
    )


def _fetch_accepted_connections(upstream: str) -> int:
    """Connections that the plain upstream has accepted so far."""
    with urllib.request.urlopen(f"{upstream}/accepts", timeout=10) as answer:  # noqa: S310
        found = re.search(r"requests\s+(\d+) ", answer.read().decode())
    return int(found[1]) if found else 0


def summarize_rounds(
    name: str,
    rounds: list[Round],
    start_s: float,
    idle_mib: float,
    loaded_mib: float,
    secure: bool,
    of_ours: bool,
) -> GatewayResult:
    """Medians over the quiet rounds. Only the plain upstream counts connections, not the TLS one."""
    quiet = select_quiet(rounds)
    requests, opened = (sum(getattr(each, of) for each in rounds) for of in ("requests", "opened"))
    return GatewayResult(
        name=name,
        us=statistics.median(each.cpu_us for each in quiet),
        us_min=min(each.cpu_us for each in rounds),
        rps=statistics.median(each.requests / each.noise.seconds for each in quiet),
        kept=sum(each.noise.is_quiet for each in rounds),
        rounds=len(rounds),
        errors=sum(each.errors for each in rounds),
        start_s=start_s,
        idle_mib=idle_mib,
        loaded_mib=loaded_mib,
        opened_per_10k=None if secure else opened / max(requests, 1) * 1e4,
        of_ours=of_ours,
    )
