"""One seed of chaos: a small fleet, random faults, impatient clients, and what must hold."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import yaml

from hamlet.config import LoadedConfig, loads
from hamlet.simulator import virtual_time
from hamlet.simulator.arrival_traces import Arrival
from hamlet.simulator.configuration import example_fleet, simulated_deployments
from hamlet.simulator.faults import Fault, random_faults
from hamlet.simulator.harness import SimulationRun, TrafficPlan, with_coarse_frames
from hamlet.simulator.invariants import (
    CheckedLoadBalancer,
    Invariants,
    check,
    checked_gateway_factory,
)
from hamlet.simulator.report import SimulationReport
from hamlet.simulator.spec import SimulatedDeployment

_PTU, _REQUESTS, _DURATION_S = 5, 24, 20.0
_MAX_IN_FLIGHT, _CLEANUP_TICKS = 12, 20
_DEADLINES = (None, None, 3.0, 12.0)
_ROUTES: dict[str, dict[str, Any]] = {
    "chat": {},
    "eu": {"residency": ["eu"]},
    "same": {"policy": {"retry_first": "same", "content_filter": "failover"}},
    "held": {"policy": {"hold_back": True}},
    "chips": {
        "criticality": "sheddable",
        "policy": {"hedge": True, "first_token_s": 2, "total_s": 6},
    },
}


@functools.cache
def fuzz_fleet() -> tuple[LoadedConfig, list[SimulatedDeployment]]:
    """Five PTU deployments in three zones with spillover, behind routes of every kind."""
    data = yaml.safe_load(example_fleet(_PTU))
    rows = data["routes"]["chat"]["deployments"]
    data["routes"] = {
        name: {"tiering": "fleet", "deployments": rows, **more} for name, more in _ROUTES.items()
    }
    loaded = loads(yaml.safe_dump(data))
    return loaded, with_coarse_frames(simulated_deployments(loaded.config))


def random_arrivals(rng: random.Random) -> list[Arrival]:
    """Calls of every kind; half of them arrive in one burst."""
    burst = rng.uniform(0, _DURATION_S / 2)
    return sorted(
        (
            Arrival(
                round(burst + rng.random() if i % 2 else rng.uniform(0, _DURATION_S), 4),
                int(rng.lognormvariate(6.5, 1.2)) + 1,
                int(rng.lognormvariate(4.0, 1.0)) + 1,
                rng.choice(list(_ROUTES)),
            )
            for i in range(_REQUESTS)
        ),
        key=lambda arrival: arrival.at_s,
    )


def fuzz(seed: int) -> SimulationReport:
    """Run one seed. Raises InvariantViolation, with a note of the seed."""
    rng = random.Random(f"chaos:{seed}")
    loaded, specs = fuzz_fleet()
    arrivals = random_arrivals(rng)
    deadlines = {arrival: rng.choice(_DEADLINES) for arrival in arrivals}
    disconnects = {arrival: rng.uniform(0, 4) for arrival in arrivals if rng.random() < 0.2}
    plan = TrafficPlan(
        route=lambda arrival: arrival.kind,
        deadline_s=lambda arrival: deadlines[arrival],
        disconnect_after_s=disconnects.get,
        stream=rng.random() < 0.75,
    )
    faults = random_faults(rng, specs, _DURATION_S, count=rng.randint(1, 8))
    return virtual_time.run(run_checked(loaded, specs, arrivals, plan, faults, seed), seed)


async def run_checked(
    loaded: LoadedConfig,
    specs: list[SimulatedDeployment],
    arrivals: list[Arrival],
    plan: TrafficPlan,
    faults: list[Fault],
    seed: int,
) -> SimulationReport:
    """Run calls on the running virtual loop and check them. Raises InvariantViolation."""
    routes: dict[str, Any] = {}
    invariants = Invariants(routes)
    run = SimulationRun(
        loaded, seed=seed, specs=specs, faults=faults, plan=plan,
        gateway_factory=checked_gateway_factory(_MAX_IN_FLIGHT),
        observers=[invariants], on_outcome=invariants.on_outcome, on_item=invariants.on_item,
    )  # fmt: skip
    routes.update(run.registry.routes)
    try:
        report = await run.replay(arrivals)
        # The loop closes abandoned generators in tasks of its own.
        for _ in range(_CLEANUP_TICKS):
            await asyncio.sleep(0)
        check_nothing_left(run)
        return report
    finally:
        await run.registry.aclose()


def check_nothing_left(run: SimulationRun) -> None:
    """Nothing is left of an ended run: no task, call, reservation or open response."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    check(not others, f"tasks are left: {others}")
    gateway = run.gateway
    check(gateway.admission.in_flight == 0, "calls are still counted as admitted")
    assert isinstance(gateway.load_balancer, CheckedLoadBalancer)
    gateway.load_balancer.check_settled()
    for id_, state in run.world.state().items():
        check(state["in_flight"] == 0, f"{id_} has responses in flight")
