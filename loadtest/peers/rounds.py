"""Interleaved rounds of closed-loop load by wrk, and what is kept of them."""

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

from loadtest.peers.gateways import KEY
from loadtest.proc import Machine, Process, cpu_s

QUIETEST = 3
MAX_STEAL, MAX_OTHERS = 0.03, 0.35


@dataclass(frozen=True, slots=True)
class Noise:
    """What went on beside a measurement: shares of a core stolen, and used by strangers."""

    seconds: float
    steal: float
    others: float

    @property
    def is_quiet(self) -> bool:
        """Whether the machine let us measure."""
        return self.steal <= MAX_STEAL and self.others <= MAX_OTHERS

    @property
    def loudness(self) -> float:
        return self.steal + self.others


class Ear:
    """Listens to the machine. `mine` are the bench's own processes, which are no strangers."""

    def __init__(self, mine: Sequence[Process]) -> None:
        self._mine = mine
        self._begin = time.monotonic()
        self._machine, self._own = Machine.now(), self._used()

    def heard(self) -> Noise:
        """What it heard since it was made."""
        took, now = time.monotonic() - self._begin, Machine.now()
        strangers = now.busy_s - self._machine.busy_s - (self._used() - self._own)
        return Noise(took, (now.steal_s - self._machine.steal_s) / took, max(0.0, strangers) / took)

    def _used(self) -> float:
        """CPU seconds of the bench, of what it has waited for, and of its processes."""
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in own) + sum(cpu_s(p.pid) for p in self._mine)


class Noisy(Protocol):
    """A measurement that knows what went on beside it."""

    @property
    def noise(self) -> Noise: ...


N = TypeVar("N", bound=Noisy)


def kept(rounds: Sequence[N]) -> list[N]:
    """The quiet rounds; where there are too few, the quietest, which the report then says."""
    quiet = [each for each in rounds if each.noise.is_quiet]
    if len(quiet) >= min(QUIETEST, len(rounds)):
        return quiet
    return sorted(rounds, key=lambda each: each.noise.loudness)[:QUIETEST]


@dataclass(frozen=True, slots=True)
class Round:
    """One gateway under load for a while. `opened` are the connections that its upstream took."""

    requests: int
    errors: int
    gateway_s: float
    opened: int
    noise: Noise

    @property
    def us(self) -> float:
        """CPU microseconds of the gateway a request."""
        return self.gateway_s / max(self.requests, 1) * 1e6


@dataclass(frozen=True, slots=True)
class Result:
    """What is said of one gateway: medians of its kept rounds, and the lowest round."""

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

    def row(self) -> dict[str, object]:
        return asdict(self)


def script(folder: Path, bodies: Sequence[bytes], headers: Mapping[str, str]) -> Path:
    """A wrk script that posts `bodies` in turn with the key."""
    lines = ['wrk.method = "POST"']
    every = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in every.items()]
    texts = ", ".join(json.dumps(body.decode()) for body in bodies)
    lines += [f"local bodies, i = {{{texts}}}, 0", "local made = {}"]
    # Made once: wrk's own cost is none of the gateway's, but it shares the upstream's core.
    lines.append("init = function() for n, b in ipairs(bodies) do made[n] = ")
    lines.append("  wrk.format(nil, nil, nil, b) end end")
    lines.append("request = function() i = i % #made + 1; return made[i] end")
    file = folder / "wrk.lua"
    file.write_text("\n".join(lines))
    return file


def load(
    url: str,
    lua: Path,
    gateway: Process,
    mine: list[Process],
    connections: int,
    seconds: float,
    upstream: str,
) -> Round:
    """One round."""
    before, ear, opened = cpu_s(gateway.pid), Ear(mine), _accepted(upstream)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    text = subprocess.run(
        [*command, "--timeout", "20s", "-s", str(lua), url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    used, noise = cpu_s(gateway.pid) - before, ear.heard()
    found = re.search(r"(\d+) requests in", text)
    wrong = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    wrong += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    return Round(
        requests=int(found[1]) if found else 0,
        errors=wrong,
        gateway_s=used,
        # The question itself is one.
        opened=_accepted(upstream) - opened - 1,
        noise=noise,
    )


def _accepted(upstream: str) -> int:
    """Connections that the plain upstream ever took."""
    with urllib.request.urlopen(f"{upstream}/accepts", timeout=10) as answer:  # noqa: S310
        told = re.search(r"requests\s+(\d+) ", answer.read().decode())
    return int(told[1]) if told else 0


def result(
    name: str,
    rounds: list[Round],
    start_s: float,
    idle_mib: float,
    loaded_mib: float,
    secure: bool,
    of_ours: bool,
) -> Result:
    """Medians over the kept rounds. Connections are counted at the plain upstream alone."""
    used = kept(rounds)
    requests, opened = (sum(getattr(each, of) for each in rounds) for of in ("requests", "opened"))
    return Result(
        name=name,
        us=statistics.median(each.us for each in used),
        us_min=min(each.us for each in rounds),
        rps=statistics.median(each.requests / each.noise.seconds for each in used),
        kept=sum(each.noise.is_quiet for each in rounds),
        rounds=len(rounds),
        errors=sum(each.errors for each in rounds),
        start_s=start_s,
        idle_mib=idle_mib,
        loaded_mib=loaded_mib,
        opened_per_10k=None if secure else opened / max(requests, 1) * 1e4,
        of_ours=of_ours,
    )
