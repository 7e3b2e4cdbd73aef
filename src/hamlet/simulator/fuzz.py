"""One seed of chaos: a small fleet, random faults, impatient clients, and what must hold."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import yaml

from hamlet.config import Loaded, loads
from hamlet.simulator import virtual_time as virtual
from hamlet.simulator.faults import Fault, chaos
from hamlet.simulator.fleet import deployments_of, example_fleet
from hamlet.simulator.harness import Plan, Run, brisk
from hamlet.simulator.invariants import Invariants, WatchedFleet, holds, watched
from hamlet.simulator.report import Report
from hamlet.simulator.spec import Simulated
from hamlet.simulator.traces import Arrival

_PTU, _REQUESTS, _SECONDS = 5, 24, 20.0
_PLACES, _ROUNDS = 12, 20
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
def fleet() -> tuple[Loaded, list[Simulated]]:
    """Five PTU deployments in three zones and what they spill to, behind routes of every kind."""
    data = yaml.safe_load(example_fleet(_PTU))
    rows = data["routes"]["chat"]["deployments"]
    data["routes"] = {
        name: {"tiering": "fleet", "deployments": rows, **more} for name, more in _ROUTES.items()
    }
    loaded = loads(yaml.safe_dump(data))
    return loaded, brisk(deployments_of(loaded.config))


def arrivals_of(rng: random.Random) -> list[Arrival]:
    """Some calls of every kind; half of them come together."""
    burst = rng.uniform(0, _SECONDS / 2)
    return sorted(
        (
            Arrival(
                round(burst + rng.random() if i % 2 else rng.uniform(0, _SECONDS), 4),
                int(rng.lognormvariate(6.5, 1.2)) + 1,
                int(rng.lognormvariate(4.0, 1.0)) + 1,
                rng.choice(list(_ROUTES)),
            )
            for i in range(_REQUESTS)
        ),
        key=lambda arrival: arrival.at_s,
    )


def fuzz(seed: int) -> Report:
    """Play one seed. Raises Broken, with a note of the seed, if an invariant does not hold."""
    rng = random.Random(f"chaos:{seed}")
    loaded, specs = fleet()
    arrivals = arrivals_of(rng)
    deadlines = {arrival: rng.choice(_DEADLINES) for arrival in arrivals}
    leaves = {arrival: rng.uniform(0, 4) for arrival in arrivals if rng.random() < 0.2}
    plan = Plan(
        route=lambda arrival: arrival.kind,
        deadline_s=lambda arrival: deadlines[arrival],
        leaves_after_s=leaves.get,
        stream=rng.random() < 0.75,
    )
    faults = chaos(rng, specs, _SECONDS, count=rng.randint(1, 8))
    return virtual.run(play(loaded, specs, arrivals, plan, faults, seed), seed)


async def play(
    loaded: Loaded,
    specs: list[Simulated],
    arrivals: list[Arrival],
    plan: Plan,
    faults: list[Fault],
    seed: int,
) -> Report:
    """Play calls on the running, virtual, loop, and watch them. Raises Broken."""
    routes: dict[str, Any] = {}
    rules = Invariants(routes)
    run = Run(
        loaded, seed=seed, specs=specs, faults=faults, plan=plan, make=watched(_PLACES),
        observers=[rules], on_outcome=rules.on_outcome, on_item=rules.on_item,
    )  # fmt: skip
    routes.update(run.registry.routes)
    try:
        report = await run.drive(arrivals)
        # Generators that their readers dropped are closed by tasks of the loop's own.
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        left_over(run)
        return report
    finally:
        await run.registry.aclose()


def left_over(run: Run) -> None:
    """Nothing is left of a run that has ended: no task, no call, no booking, no open answer."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    holds(not others, f"tasks are left: {others}")
    gateway = run.gateway
    holds(gateway.admission.in_flight == 0, "calls are still counted as admitted")
    assert isinstance(gateway.fleet, WatchedFleet)
    gateway.fleet.over()
    for id_, state in run.world.state().items():
        holds(state["in_flight"] == 0, f"{id_} still answers somebody")
