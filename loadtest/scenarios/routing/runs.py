"""The simulation runs behind the report, in parallel processes."""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from hamlet.config import loads
from hamlet.gateway import Admission, Gateway
from hamlet.simulator.arrival_traces import Arrival, slice_trace
from hamlet.simulator.configuration import example_fleet, simulated_deployments
from hamlet.simulator.faults import Fault
from hamlet.simulator.harness import GatewayFactory
from hamlet.simulator.report import SimulationReport
from hamlet.simulator.simulation import Simulation
from loadtest.scenarios.routing.policies import POLICIES

# The trace uses 81 % of 675 PTU, and all of this share of them.
NORMAL_SCALE, SATURATED_SCALE = 1.0, 0.81
SEED = 3
_FIVE_MINUTES_S = 300.0
REMOTE_DEPLOYMENT, HOME_DEPLOYMENT = "ptu-eastus-1", "ptu-koreacentral-1"


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """One run: the policy, the share of the fleet's PTU, the faults, and the length."""

    policy: str = "hamlet"
    scale: float = NORMAL_SCALE
    faults: tuple[Fault, ...] = ()
    until_s: float = math.inf


def failing_run(share: float) -> SimulationRun:
    """A share of all attempts fails before the first content, in three ways."""
    part = share / 3
    kinds = (Fault("status", chance=part, status=500), Fault("reset", chance=part))
    return SimulationRun(faults=(*kinds, Fault("stall", chance=part)))


RUNS: Mapping[str, SimulationRun] = {
    **{
        f"{p} {scale}": SimulationRun(p, scale)
        for scale in (NORMAL_SCALE, SATURATED_SCALE)
        for p in POLICIES
    },
    **{f"failing {share}": failing_run(share) for share in (0.1, 0.05, 0.01)},
    "one dead": SimulationRun(
        faults=(Fault("dead", at=(REMOTE_DEPLOYMENT,)),), until_s=_FIVE_MINUTES_S
    ),
    "nine dead": SimulationRun(faults=(Fault("refused", at=("eu",), from_s=60, to_s=240),)),
    "one slow elsewhere": SimulationRun(
        faults=(Fault("slow", factor=10, at=(REMOTE_DEPLOYMENT,)),)
    ),
    "one slow at home": SimulationRun(faults=(Fault("slow", factor=10, at=(HOME_DEPLOYMENT,)),)),
    "all failing": SimulationRun(
        faults=(Fault("status", status=500, chance=0.8, from_s=60, to_s=120),),
        until_s=_FIVE_MINUTES_S,
    ),
}


@functools.cache
def scaled_scene(scale: float) -> Simulation:
    """The example fleet with its PTU counts scaled."""
    text = re.sub(
        r"ptu: (\d+)", lambda m: f"ptu: {max(1, round(int(m[1]) * scale))}", example_fleet()
    )
    loaded = loads(text)
    return Simulation(loaded, simulated_deployments(loaded.config))


def gateway_factory(policy: str) -> GatewayFactory:
    """A factory of gateways with this policy's load balancer."""

    def make(holder, observers, clock) -> Gateway:  # type: ignore[no-untyped-def]
        load_balancer = POLICIES[policy](clock, random.Random(5))
        return Gateway(holder, Admission(1_000_000, clock), observers, load_balancer)

    return make


def simulate_run(trace: Sequence[Arrival], run: SimulationRun) -> SimulationReport:
    """One run; the same arguments give the same report."""
    part = slice_trace(trace, 0, run.until_s)
    return scaled_scene(run.scale).run(
        part, SEED, make=gateway_factory(run.policy), faults=run.faults
    )


def simulate_runs(trace: Sequence[Arrival], processes: int) -> dict[str, SimulationReport]:
    """Every run by name."""
    with ProcessPoolExecutor(processes) as pool:
        futures = {name: pool.submit(simulate_run, trace, run) for name, run in RUNS.items()}
        return {name: future.result() for name, future in futures.items()}
