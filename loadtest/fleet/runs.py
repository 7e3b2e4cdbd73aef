"""The runs behind the report: what is played, each once, in processes side by side."""

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
from hamlet.simulator.faults import Fault
from hamlet.simulator.fleet import deployments_of, example_fleet
from hamlet.simulator.harness import Make
from hamlet.simulator.report import Report
from hamlet.simulator.setting import Scene
from hamlet.simulator.traces import Arrival, between
from loadtest.fleet.policies import POLICIES

# 675 PTU carry the trace at 81 %; with this part of them it fills them wholly.
EASED, FULL = 1.0, 0.81
SEED = 3
_FIVE_MINUTES_S = 300.0
FAR, HOME = "ptu-eastus-1", "ptu-koreacentral-1"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: which head chooses, over which part of the fleet's PTU, what befalls it, how long."""

    policy: str = "hamlet"
    scale: float = EASED
    faults: tuple[Fault, ...] = ()
    until_s: float = math.inf


def failing(share: float) -> Run:
    """Any deployment fails now and then, in three ways, before its first content."""
    part = share / 3
    kinds = (Fault("status", chance=part, status=500), Fault("reset", chance=part))
    return Run(faults=(*kinds, Fault("stall", chance=part)))


RUNS: Mapping[str, Run] = {
    **{f"{p} {scale}": Run(p, scale) for scale in (EASED, FULL) for p in POLICIES},
    **{f"failing {share}": failing(share) for share in (0.1, 0.05, 0.01)},
    "one dead": Run(faults=(Fault("dead", at=(FAR,)),), until_s=_FIVE_MINUTES_S),
    "nine dead": Run(faults=(Fault("refused", at=("eu",), from_s=60, to_s=240),)),
    "one slow elsewhere": Run(faults=(Fault("slow", factor=10, at=(FAR,)),)),
    "one slow at home": Run(faults=(Fault("slow", factor=10, at=(HOME,)),)),
    "all failing": Run(
        faults=(Fault("status", status=500, chance=0.8, from_s=60, to_s=120),),
        until_s=_FIVE_MINUTES_S,
    ),
}


@functools.cache
def scene(scale: float) -> Scene:
    """The example fleet with its PTU counts scaled."""
    text = re.sub(
        r"ptu: (\d+)", lambda m: f"ptu: {max(1, round(int(m[1]) * scale))}", example_fleet()
    )
    loaded = loads(text)
    return Scene(loaded, deployments_of(loaded.config))


def head(policy: str) -> Make:
    """The gateway with this policy's head."""

    def make(holder, observers, clock) -> Gateway:  # type: ignore[no-untyped-def]
        chosen = POLICIES[policy](clock, random.Random(5))
        return Gateway(holder, Admission(1_000_000, clock), observers, chosen)

    return make


def play(trace: Sequence[Arrival], run: Run) -> Report:
    """One run; the same arguments give the same report."""
    part = between(trace, 0, run.until_s)
    return scene(run.scale).play(part, SEED, make=head(run.policy), faults=run.faults)


def play_all(trace: Sequence[Arrival], processes: int) -> dict[str, Report]:
    """Every run by name."""
    with ProcessPoolExecutor(processes) as pool:
        played = {name: pool.submit(play, trace, run) for name, run in RUNS.items()}
        return {name: future.result() for name, future in played.items()}
