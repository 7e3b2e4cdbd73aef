"""What the fleet's part of the hot path costs: admit, plan, book, commit, settle, per call.

    python -m loadtest.fleet_cost [DEPLOYMENTS]

Prints CPU microseconds a call, over rounds, beside a plain weighted draw as a yardstick.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

from hamlet.config import Policy
from hamlet.core import ModelCard, Usage
from hamlet.gateway import Admission, Caller
from hamlet.registry import Deployment, ProviderHandle, Reserved, Route
from hamlet.routing import Demand, Fleet

ROUNDS, CALLS = 15, 4_000
LIMIT_US = 30.0


def route_of(count: int) -> Route:
    """A route of one tier with reserved capacity."""
    rows = tuple(
        Deployment(
            f"ptu-{i}/gpt",
            ProviderHandle(f"ptu-{i}", "openai", None, ("chat",)),
            "gpt",
            ModelCard(),
            region=f"region-{i % 9}",
            capacity=Reserved(25, 2500, 3.0),
        )
        for i in range(count)
    )
    return Route("chat", "chat", (rows,), Policy())


def fleet_round(route: Route) -> float:
    """CPU seconds a call through the fleet's steps, on a clock that runs at 750 calls a minute."""
    now = [0.0]
    fleet = Fleet(lambda: now[0], random.Random(1))
    admission, caller = Admission(1000), Caller()
    usage = Usage(1300, 150)
    begun = time.process_time()
    for _ in range(CALLS):
        now[0] += 0.08
        admission.admit(caller)
        traffic = fleet.traffic(route)
        traffic.budget.enter()
        reserved, likely = traffic.estimator.output_tokens(400)
        demand = Demand(traffic.estimator.input_tokens(5200), reserved, likely)
        choice = fleet.choose(traffic, fleet.look(demand))
        assert choice is not None
        booking = fleet.begin(choice, demand)
        fleet.succeeded(booking)
        fleet.settle(booking, usage)
        traffic.budget.leave()
        admission.leave(caller)
    return (time.process_time() - begun) / CALLS


def draw_round(route: Route) -> float:
    """CPU seconds of one weighted draw of the whole tier."""
    rng, tier = random.Random(1), route.tiers[0]
    begun = time.process_time()
    for _ in range(CALLS):
        sorted(tier, key=lambda d: rng.random() ** (1 / d.weight))
    return (time.process_time() - begun) / CALLS


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 27
    route = route_of(count)
    rows = [(fleet_round(route) * 1e6, draw_round(route) * 1e6) for _ in range(ROUNDS)]
    fleet, draw = (sorted(column) for column in zip(*rows, strict=True))
    median = statistics.median(fleet)
    print(f"{count} deployments, {ROUNDS} rounds of {CALLS} calls, CPU us a call")
    print(
        f"  admit, plan, book, commit, settle  min {fleet[0]:.1f}  median {median:.1f}  max {fleet[-1]:.1f}"
    )
    print(
        f"  a weighted draw of all, alone      min {draw[0]:.1f}  median {statistics.median(draw):.1f}"
    )
    print(f"  ratio {median / statistics.median(draw):.2f}; the limit is {LIMIT_US:g} us")
    return int(median > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
