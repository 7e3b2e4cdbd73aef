"""Overload: for a minute a fleet gets twice the load of its capacity, most of it chips."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hamlet.config import loads
from hamlet.core.errors import RateLimited, Saturated
from hamlet.simulator.arrival_traces import Arrival
from hamlet.simulator.harness import TrafficPlan, simulate
from hamlet.simulator.report import RequestOutcome
from loadtest.engine.quantiles import quantile

# Nine deployments of 25 PTU, and no tier below them for the excess.
COUNT, PTU, TPM, WEIGHT = 9, 25, 2500, 3
BEFORE_S, OVERLOAD_S, AFTER_S = 60.0, 60.0, 60.0
# A bucket holds half a minute of its rate: the first half of the overload empties it.
SETTLE_S, RECOVERY_S = 30.0, 10.0
# Shares of the fleet's capacity: chat all the time, and chips before and during the overload.
CHAT, CHIPS_BASELINE, CHIPS_OVERLOAD = 0.6, 0.1, 1.4
PROMPT, OUTPUT, LIMIT = 1000, 100, 125


def _config() -> str:
    rows = [f"{{provider: p{i}, model: gpt-4o, region: r{i}, ptu: {PTU}}}" for i in range(COUNT)]
    providers = "".join(
        f'  p{i}: {{kind: openai, base_url: "http://simulated/p{i}/v1", auth: api-key}}\n'
        for i in range(COUNT)
    )
    listed = ", ".join(rows)
    return (
        f"providers:\n{providers}routes:\n"
        f"  chat: {{tiering: fleet, deployments: [{listed}]}}\n"
        f"  chips: {{tiering: fleet, criticality: sheddable, deployments: [{listed}],\n"
        "    policy: {wait_share: 0, first_token_s: 2, total_s: 3}}\n"
    )


@dataclass(frozen=True, slots=True)
class OverloadResult:
    """Shares and seconds of the run. `goodput` is the share of the fleet's capacity that was used."""

    goodput: float
    chat_success: float
    chips_success: float
    shed_p99_s: float
    chat_p99_s: float
    success_after: float
    ttft_p99_ratio_after: float


def simulate_overload(seed: int = 3) -> OverloadResult:
    """Simulate before, during and after the overload on virtual time."""
    rng = random.Random(seed)
    arrivals = sorted(
        _poisson_arrivals(rng, "chat", 0, BEFORE_S + OVERLOAD_S + AFTER_S, CHAT)
        + _poisson_arrivals(rng, "chips", 0, BEFORE_S + OVERLOAD_S + AFTER_S, CHIPS_BASELINE)
        + _poisson_arrivals(rng, "chips", BEFORE_S, OVERLOAD_S, CHIPS_OVERLOAD - CHIPS_BASELINE),
        key=lambda arrival: arrival.at_s,
    )
    plan = TrafficPlan(route=lambda arrival: arrival.kind, max_tokens=lambda arrival: LIMIT)
    report = simulate(loads(_config()), arrivals, seed=seed, plan=plan)
    during = _started_within(report.outcomes, BEFORE_S, OVERLOAD_S)
    settled = _started_within(report.outcomes, BEFORE_S + SETTLE_S, OVERLOAD_S - SETTLE_S)
    recovered_at_s = BEFORE_S + OVERLOAD_S + RECOVERY_S
    before = _started_within(report.outcomes, 10, BEFORE_S - 10)
    after = _started_within(report.outcomes, recovered_at_s, AFTER_S - RECOVERY_S)
    rate = COUNT * PTU * TPM / 60
    done = sum(o.arrival.prompt_tokens + WEIGHT * o.output_tokens for o in settled if o.ok)
    shed = [o.duration_s for o in during if isinstance(o.error, (Saturated, RateLimited))]
    chats = [o for o in during if o.arrival.kind == "chat"]
    return OverloadResult(
        done / (OVERLOAD_S - SETTLE_S) / rate,
        _success_share(chats),
        _success_share([o for o in during if o.arrival.kind == "chips"]),
        quantile(shed, 0.99) or 0.0,
        _ttft_p99_s(chats),
        _success_share(after),
        _ttft_p99_s(after) / _ttft_p99_s(before),
    )


def _poisson_arrivals(
    rng: random.Random, kind: str, from_s: float, seconds: float, share: float
) -> list[Arrival]:
    """Poisson arrivals whose load is this share of the fleet's capacity."""
    per_s = share * COUNT * PTU * TPM / 60 / (PROMPT + WEIGHT * OUTPUT)
    arrivals, at = [], from_s + rng.expovariate(per_s)
    while at < from_s + seconds:
        arrivals.append(Arrival(at, PROMPT, OUTPUT, kind))
        at += rng.expovariate(per_s)
    return arrivals


def _started_within(
    outcomes: list[RequestOutcome], from_s: float, seconds: float
) -> list[RequestOutcome]:
    return [o for o in outcomes if from_s <= o.started_s < from_s + seconds]


def _success_share(outcomes: list[RequestOutcome]) -> float:
    return sum(o.ok for o in outcomes) / max(1, len(outcomes))


def _ttft_p99_s(outcomes: list[RequestOutcome]) -> float:
    return quantile([o.ttft_s for o in outcomes if o.ttft_s is not None], 0.99) or 0.0
