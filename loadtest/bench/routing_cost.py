"""The cost of routing per call: admit, select, reserve, commit, settle.

    python -m loadtest.bench.routing_cost [DEPLOYMENTS]

Prints CPU microseconds per call over several rounds, and those of a weighted draw for comparison.
"""

from __future__ import annotations

import random
import statistics
import sys
import time

from hamlet.config import Policy
from hamlet.core import ModelCard, Usage
from hamlet.gateway import Admission, Caller
from hamlet.registry import Deployment, ProviderHandle, ReservedThroughput, Route
from hamlet.routing import CostEstimate, LoadBalancer

ROUNDS, CALLS = 15, 4_000
LIMIT_US = 30.0


def make_route(count: int) -> Route:
    """A route of one tier with reserved capacity."""
    rows = tuple(
        Deployment(
            f"ptu-{i}/gpt",
            ProviderHandle(f"ptu-{i}", "openai", None, ("chat",)),
            "gpt",
            ModelCard(),
            region=f"region-{i % 9}",
            capacity=ReservedThroughput(25, 2500, 3.0),
        )
        for i in range(count)
    )
    return Route("chat", "chat", (rows,), Policy())


def routing_round_s(route: Route) -> float:
    """CPU seconds per call of all routing steps, with a clock that advances at 750 calls a minute."""
    now = [0.0]
    load_balancer = LoadBalancer(lambda: now[0], random.Random(1))
    admission, caller = Admission(1000), Caller()
    usage = Usage(1300, 150)
    begun = time.process_time()
    for _ in range(CALLS):
        now[0] += 0.08
        admission.acquire_slot_nowait(caller)
        route_state = load_balancer.route_state(route)
        route_state.retry_budget.start_call()
        reserved, expected = route_state.estimator.estimate_output_tokens(400)
        cost = CostEstimate(route_state.estimator.estimate_input_tokens(5200), reserved, expected)
        selection = load_balancer.select(route_state, load_balancer.build_context(cost))
        assert selection is not None
        reservation = load_balancer.reserve(selection, cost)
        load_balancer.record_success(reservation)
        load_balancer.settle(reservation, usage)
        route_state.retry_budget.end_call()
        admission.release_slot(caller)
    return (time.process_time() - begun) / CALLS


def weighted_draw_round_s(route: Route) -> float:
    """CPU seconds of one weighted draw of the whole tier."""
    rng, tier = random.Random(1), route.tiers[0]
    begun = time.process_time()
    for _ in range(CALLS):
        sorted(tier, key=lambda d: rng.random() ** (1 / d.weight))
    return (time.process_time() - begun) / CALLS


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 27
    route = make_route(count)
    rows = [
        (routing_round_s(route) * 1e6, weighted_draw_round_s(route) * 1e6) for _ in range(ROUNDS)
    ]
    routing_us, draw_us = (sorted(column) for column in zip(*rows, strict=True))
    median = statistics.median(routing_us)
    print(f"{count} deployments, {ROUNDS} rounds of {CALLS} calls, CPU us per call")
    print(
        f"  admit, plan, book, commit, settle  min {routing_us[0]:.1f}  median {median:.1f}  max {routing_us[-1]:.1f}"
    )
    print(
        f"  a weighted draw of all, alone      min {draw_us[0]:.1f}  median {statistics.median(draw_us):.1f}"
    )
    print(f"  ratio {median / statistics.median(draw_us):.2f}; the limit is {LIMIT_US:g} us")
    return int(median > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
