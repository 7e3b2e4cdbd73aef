"""Interleaved rounds of closed-loop load by wrk, and what is kept of them."""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest.peers.gateways import KEY
from loadtest.proc import Machine, Process, cpu_s

QUIETEST = 3
MAX_STEAL, MAX_OTHERS = 0.03, 0.35


@dataclass(frozen=True, slots=True)
class Round:
    """One gateway under load for a while. `others` is the cores that strangers used meanwhile."""

    requests: int
    errors: int
    seconds: float
    gateway_s: float
    steal: float
    others: float

    @property
    def us(self) -> float:
        """CPU microseconds of the gateway a request."""
        return self.gateway_s / max(self.requests, 1) * 1e6

    @property
    def is_quiet(self) -> bool:
        """Whether the machine let us measure: little stolen, few strangers."""
        return self.steal <= MAX_STEAL and self.others <= MAX_OTHERS


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

    def row(self) -> dict[str, object]:
        return asdict(self)


def script(folder: Path, body: bytes, headers: Mapping[str, str]) -> Path:
    """A wrk script that posts `body` with the key."""
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}"]
    every = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **headers}
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in every.items()]
    file = folder / "wrk.lua"
    file.write_text("\n".join(lines))
    return file


def load(
    url: str, lua: Path, gateway: Process, mine: list[Process], connections: int, seconds: float
) -> Round:
    """One round. `mine` are the bench's own processes, which are no strangers."""
    machine, start = Machine.now(), time.monotonic()
    before, own = cpu_s(gateway.pid), sum(cpu_s(p.pid) for p in mine)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = subprocess.run(
        [*command, "--timeout", "20s", "-s", str(lua), url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    took, now = time.monotonic() - start, Machine.now()
    used, after = cpu_s(gateway.pid) - before, resource.getrusage(resource.RUSAGE_CHILDREN)
    client = after.ru_utime + after.ru_stime - reaped.ru_utime - reaped.ru_stime
    strangers = now.busy_s - machine.busy_s - (sum(cpu_s(p.pid) for p in mine) - own) - client
    found = re.search(r"(\d+) requests in", text)
    wrong = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    wrong += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    return Round(
        requests=int(found[1]) if found else 0,
        errors=wrong,
        seconds=took,
        gateway_s=used,
        steal=(now.steal_s - machine.steal_s) / took,
        others=max(0.0, strangers) / took,
    )


def kept(rounds: list[Round]) -> list[Round]:
    """The quiet rounds; where there are too few, the quietest, which the report then says."""
    quiet = [each for each in rounds if each.is_quiet]
    if len(quiet) >= min(QUIETEST, len(rounds)):
        return quiet
    return sorted(rounds, key=lambda each: each.steal + each.others)[:QUIETEST]


def result(
    name: str, rounds: list[Round], start_s: float, idle_mib: float, loaded_mib: float
) -> Result:
    """Medians over the kept rounds."""
    used = kept(rounds)
    return Result(
        name=name,
        us=statistics.median(each.us for each in used),
        us_min=min(each.us for each in rounds),
        rps=statistics.median(each.requests / each.seconds for each in used),
        kept=sum(each.is_quiet for each in rounds),
        rounds=len(rounds),
        errors=sum(each.errors for each in rounds),
        start_s=start_s,
        idle_mib=idle_mib,
        loaded_mib=loaded_mib,
    )
