"""G13: calls that are called off at random points, over real sockets: `python -m loadtest.cancels [N]`.

Clients of the real gateway leave after a random time or a random number of turns of the loop, while
the simulated vendors behind it fail, stall and are slow. Counts what is left behind: connections,
tasks, calls, bookings, retries, file descriptors; then whether everybody is answered again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import yaml

from hamlet.config import loads
from hamlet.core.errors import HamletError
from hamlet.gateway import Caller, Gateway, Observers
from hamlet.registry import RegistryHolder, build
from hamlet.simulator import Fault, Latency, SimulatorServer, World
from hamlet.simulator.fleet import pointed_at
from hamlet.simulator.fuzz import fleet
from hamlet.simulator.harness import Plan, call_of
from hamlet.simulator.invariants import Broken, Invariants, WatchedFleet, watched
from hamlet.simulator.traces import Arrival
from hamlet.testing.support import SilentLog

_AT_ONCE, _ROUTES = 40, ("chat", "same", "held", "chips")
_PATIENCE_S, _TURNS = 0.04, 60
_AFTER, _SETTLED_S = 200, 60.0
_QUICK = Latency(0.006, 0.6, 0.0002)
_FAULTS = (
    Fault("status", chance=0.1, status=500),
    Fault("reset", chance=0.05, after=1),
    Fault("stall", chance=0.02),
    Fault("dead", chance=0.02),
    Fault("slow", chance=0.1, factor=20.0),
    Fault("status", chance=0.05, status=429, retry_after_ms="20"),
)


@dataclass(slots=True)
class Left:
    """What was seen: how calls ended, and what was left when all had. `usable` is how those after ended."""

    ends: Counter[str]
    tasks: int
    calls: int
    connections: int
    descriptors: int
    broken: str
    usable: Counter[str]
    seconds: float

    @property
    def clean(self) -> bool:
        """Nothing is left, and everybody is answered."""
        left = self.tasks or self.calls or self.connections or self.descriptors or self.broken
        return not left and self.usable.keys() == {"answered"}


async def cancels(count: int, seed: int = 1) -> Left:
    """Call off `count` calls, and look at what is left."""
    rng, begun = random.Random(seed), time.monotonic()
    loaded, specs = fleet()
    world = World(
        [replace(spec, latency=_QUICK) for spec in specs], seed=seed, clock=time.monotonic
    )
    files = len(os.listdir("/proc/self/fd"))
    async with SimulatorServer(world) as server:
        text = yaml.safe_dump(pointed_at(loaded.source.data, server.url))
        registry = build(loads(text), SilentLog())
        rules = Invariants(dict(registry.routes))
        told = Observers([rules], SilentLog())
        gateway = watched(10 * _AT_ONCE)(RegistryHolder(registry), told, time.monotonic)
        before = asyncio.all_tasks()
        world.set_faults(_FAULTS)
        ends = await _storm(gateway, rng, count)
        world.set_faults([])
        await _until(lambda: len(asyncio.all_tasks() - before) == 0)
        tasks, calls = len(asyncio.all_tasks() - before), gateway.admission.in_flight
        await _until(lambda: not _answering(world))
        broken = _over(gateway) or ("an observer raised" if told.failures else "")
        usable = await _usable(gateway)
        await registry.aclose()
        await _until(lambda: not server._open)
        connections = len(server._open) + _answering(world)
    await _until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    descriptors = max(0, len(os.listdir("/proc/self/fd")) - files)
    seconds = time.monotonic() - begun
    return Left(ends, tasks, calls, connections, descriptors, broken, usable, seconds)


async def _storm(gateway: Gateway, rng: random.Random, count: int) -> Counter[str]:
    ends: Counter[str] = Counter()
    numbers = iter(range(count))

    async def client() -> None:
        for n in numbers:
            call = asyncio.create_task(_call(gateway, rng.choice(_ROUTES), f"c-{n}", rng))
            if rng.random() < 0.5:
                await asyncio.wait([call], timeout=rng.random() * _PATIENCE_S)
            else:
                for _ in range(rng.randrange(_TURNS)):
                    await asyncio.sleep(0)
            call.cancel()
            try:
                ends[await call] += 1
            except asyncio.CancelledError:
                ends["called off"] += 1

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
    return ends


async def _call(gateway: Gateway, route: str, id_: str, rng: random.Random) -> str:
    plan = Plan(route=lambda arrival: route, stream=rng.random() < 0.7)
    arrival = Arrival(0.0, rng.randrange(1, 60), rng.randrange(1, 20))
    try:
        stream = await gateway.chat(call_of(arrival, plan, id_), Caller())
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()
    except HamletError as error:
        return error.code
    return "answered"


async def _usable(gateway: Gateway) -> Counter[str]:
    """How calls end when all is well again and breakers have closed."""
    rng = random.Random(2)
    for condition in gateway.fleet.conditions.values():
        if condition.breaker.opened:
            condition.breaker.close(gateway.fleet.clock())
    ends: Counter[str] = Counter()
    for first in range(0, _AFTER, _AT_ONCE):
        calls = (_call(gateway, "chat", f"after-{first + n}", rng) for n in range(_AT_ONCE))
        ends.update(await asyncio.gather(*calls))
    return ends


def _answering(world: World) -> int:
    return sum(state["in_flight"] for state in world.state().values())


def _over(gateway: Gateway) -> str:
    assert isinstance(gateway.fleet, WatchedFleet)
    try:
        gateway.fleet.over()
    except Broken as broken:
        return str(broken)
    return ""


async def _until(holds: Any) -> None:
    """Wait for it, within reason; who looks afterwards sees whether it came to be."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SETTLED_S):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def main() -> int:
    """Print what was seen; 1 if anything is left."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    left = asyncio.run(cancels(count))
    print(f"{count} calls, most called off, in {left.seconds:.0f} s")
    for end, number in left.ends.most_common():
        print(f"  {end:24}{number}")
    print(
        f"left: {left.tasks} tasks, {left.calls} calls, {left.connections} connections, "
        f"{left.descriptors} descriptors, ledger: {left.broken or 'nothing'}; "
        f"calls after: {dict(left.usable)}"
    )
    return int(not left.clean)


if __name__ == "__main__":
    sys.exit(main())
