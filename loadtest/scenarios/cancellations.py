"""Cancel calls at random points over real sockets: `python -m loadtest.scenarios.cancellations [N]`.

Clients of the real gateway disconnect after a random time or a random number of loop iterations, while
the simulated vendors behind it fail, stall and are slow. Counts what leaks: connections, tasks, calls,
reservations, retries and file descriptors; then checks that new calls succeed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import yaml

from hamlet.config import loads
from hamlet.core.errors import HamletError
from hamlet.gateway import Caller, Gateway, Observers
from hamlet.registry import RegistryHolder, build_registry
from hamlet.simulator import Fault, Latency, SimulatorServer, World
from hamlet.simulator.arrival_traces import Arrival
from hamlet.simulator.configuration import redirect_providers
from hamlet.simulator.fuzz import fuzz_fleet
from hamlet.simulator.harness import TrafficPlan, call_for
from hamlet.simulator.invariants import (
    CheckedLoadBalancer,
    Invariants,
    InvariantViolation,
    checked_gateway_factory,
)
from hamlet.testing.support import SilentLog
from loadtest.engine.waiting import wait_until

_CONCURRENCY, _ROUTES = 40, ("chat", "same", "held", "chips")
_MAX_CLIENT_WAIT_S, _MAX_LOOP_TURNS = 0.04, 60
_CALLS_AFTERWARDS, _SETTLE_TIMEOUT_S = 200, 60.0
_FAST_LATENCY = Latency(0.006, 0.6, 0.0002)
_FAULTS = (
    Fault("status", chance=0.1, status=500),
    Fault("reset", chance=0.05, after=1),
    Fault("stall", chance=0.02),
    Fault("dead", chance=0.02),
    Fault("slow", chance=0.1, factor=20.0),
    Fault("status", chance=0.05, status=429, retry_after_ms="20"),
)


@dataclass(slots=True)
class LeakReport:
    """How calls ended, what was left over once all had, and how the calls afterwards ended."""

    outcomes: Counter[str]
    tasks: int
    calls: int
    connections: int
    descriptors: int
    violation: str
    outcomes_afterwards: Counter[str]
    duration_s: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing leaked and every call afterwards succeeded."""
        leaked = self.tasks or self.calls or self.connections or self.descriptors or self.violation
        return not leaked and self.outcomes_afterwards.keys() == {"succeeded"}


async def cancel_calls(count: int, seed: int = 1) -> LeakReport:
    """Cancel `count` calls and count what is left."""
    rng, begun = random.Random(seed), time.monotonic()
    loaded, specs = fuzz_fleet()
    world = World(
        [replace(spec, latency=_FAST_LATENCY) for spec in specs], seed=seed, clock=time.monotonic
    )
    files = len(os.listdir("/proc/self/fd"))
    async with SimulatorServer(world) as server:
        text = yaml.safe_dump(redirect_providers(loaded.source.data, server.url))
        registry = build_registry(loads(text), SilentLog())
        invariants = Invariants(dict(registry.routes))
        observers = Observers([invariants], SilentLog())
        gateway = checked_gateway_factory(10 * _CONCURRENCY)(
            RegistryHolder(registry), observers, time.monotonic
        )
        tasks_before = asyncio.all_tasks()
        world.set_faults(_FAULTS)
        outcomes = await _run_cancelled_calls(gateway, rng, count)
        world.set_faults([])
        await _wait_briefly(lambda: len(asyncio.all_tasks() - tasks_before) == 0)
        tasks, calls = len(asyncio.all_tasks() - tasks_before), gateway.admission.in_flight
        await _wait_briefly(lambda: not _vendor_calls_in_flight(world))
        violation = _invariant_violation(gateway) or (
            "an observer raised" if observers.failures else ""
        )
        outcomes_afterwards = await _call_afterwards(gateway)
        await registry.aclose()
        await _wait_briefly(lambda: not server._connections)
        connections = len(server._connections) + _vendor_calls_in_flight(world)
    await _wait_briefly(lambda: len(os.listdir("/proc/self/fd")) <= files)
    descriptors = max(0, len(os.listdir("/proc/self/fd")) - files)
    seconds = time.monotonic() - begun
    return LeakReport(
        outcomes, tasks, calls, connections, descriptors, violation, outcomes_afterwards, seconds
    )


async def _run_cancelled_calls(gateway: Gateway, rng: random.Random, count: int) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    numbers = iter(range(count))

    async def client() -> None:
        for n in numbers:
            call = asyncio.create_task(_call(gateway, rng.choice(_ROUTES), f"c-{n}", rng))
            if rng.random() < 0.5:
                await asyncio.wait([call], timeout=rng.random() * _MAX_CLIENT_WAIT_S)
            else:
                for _ in range(rng.randrange(_MAX_LOOP_TURNS)):
                    await asyncio.sleep(0)
            call.cancel()
            try:
                outcomes[await call] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1

    await asyncio.gather(*(client() for _ in range(_CONCURRENCY)))
    return outcomes


async def _call(gateway: Gateway, route: str, id_: str, rng: random.Random) -> str:
    plan = TrafficPlan(route=lambda arrival: route, stream=rng.random() < 0.7)
    arrival = Arrival(0.0, rng.randrange(1, 60), rng.randrange(1, 20))
    try:
        stream = await gateway.chat(call_for(arrival, plan, id_), Caller())
        try:
            async for _ in stream:
                pass
        finally:
            await stream.aclose()
    except HamletError as error:
        return error.code
    return "succeeded"


async def _call_afterwards(gateway: Gateway) -> Counter[str]:
    """How calls end without faults and with every circuit closed."""
    rng = random.Random(2)
    for state in gateway.load_balancer.deployment_states.values():
        if state.breaker.is_tripped:
            state.breaker.close(gateway.load_balancer.clock())
    outcomes: Counter[str] = Counter()
    for first in range(0, _CALLS_AFTERWARDS, _CONCURRENCY):
        calls = (_call(gateway, "chat", f"after-{first + n}", rng) for n in range(_CONCURRENCY))
        outcomes.update(await asyncio.gather(*calls))
    return outcomes


def _vendor_calls_in_flight(world: World) -> int:
    return sum(state["in_flight"] for state in world.state().values())


def _invariant_violation(gateway: Gateway) -> str:
    assert isinstance(gateway.load_balancer, CheckedLoadBalancer)
    try:
        gateway.load_balancer.check_settled()
    except InvariantViolation as violation:
        return str(violation)
    return ""


async def _wait_briefly(predicate: Callable[[], bool]) -> None:
    """Wait within reason: the caller reports what is left if it does not come."""
    with contextlib.suppress(TimeoutError):
        await wait_until(predicate, _SETTLE_TIMEOUT_S)


def main() -> int:
    """Print the report; 1 if anything leaked."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    report = asyncio.run(cancel_calls(count))
    print(f"{count} calls, most cancelled, in {report.duration_s:.0f} s")
    for outcome, number in report.outcomes.most_common():
        print(f"  {outcome:24}{number}")
    print(
        f"left: {report.tasks} tasks, {report.calls} calls, {report.connections} connections, "
        f"{report.descriptors} descriptors, invariant: {report.violation or 'nothing'}; "
        f"calls after: {dict(report.outcomes_afterwards)}"
    )
    return int(not report.is_clean)


if __name__ == "__main__":
    sys.exit(main())
