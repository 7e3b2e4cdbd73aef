"""G7: for a minute twice as much is asked of a fleet as it can do, most of it chips."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hamlet.config import loads
from hamlet.core.errors import RateLimited, Saturated
from hamlet.simulator.harness import Plan, simulate
from hamlet.simulator.report import Outcome
from hamlet.simulator.traces import Arrival

# Nine deployments of 25 PTU: no tier below them that would take what is too much.
COUNT, PTU, TPM, WEIGHT = 9, 25, 2500, 3
BEFORE_S, OVER_S, AFTER_S = 60.0, 60.0, 60.0
# A bucket holds half a minute of its rate: the first half of the overload empties it.
SETTLED_S, RECOVERED_S = 30.0, 10.0
# One part of what the fleet can do is chat throughout; chips come on top.
CHAT, CHIPS_USUALLY, CHIPS_OVER = 0.6, 0.1, 1.4
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
class Overload:
    """What was seen. Shares; seconds. `goodput` is the part of the fleet's rate that was used."""

    goodput: float
    chat: float
    chips: float
    shed_p99_s: float
    chat_p99_s: float
    after: float
    after_p99: float


def overload(seed: int = 3) -> Overload:
    """Before, during and after, on virtual time."""
    rng = random.Random(seed)
    arrivals = sorted(
        _stream(rng, "chat", 0, BEFORE_S + OVER_S + AFTER_S, CHAT)
        + _stream(rng, "chips", 0, BEFORE_S + OVER_S + AFTER_S, CHIPS_USUALLY)
        + _stream(rng, "chips", BEFORE_S, OVER_S, CHIPS_OVER - CHIPS_USUALLY),
        key=lambda arrival: arrival.at_s,
    )
    plan = Plan(route=lambda arrival: arrival.kind, max_tokens=lambda arrival: LIMIT)
    report = simulate(loads(_config()), arrivals, seed=seed, plan=plan)
    over = _started(report.outcomes, BEFORE_S, OVER_S)
    settled = _started(report.outcomes, BEFORE_S + SETTLED_S, OVER_S - SETTLED_S)
    healed = BEFORE_S + OVER_S + RECOVERED_S
    before = _started(report.outcomes, 10, BEFORE_S - 10)
    after = _started(report.outcomes, healed, AFTER_S - RECOVERED_S)
    rate = COUNT * PTU * TPM / 60
    done = sum(o.arrival.prompt + WEIGHT * o.output for o in settled if o.ok)
    shed = [o.duration_s for o in over if isinstance(o.error, (Saturated, RateLimited))]
    chats = [o for o in over if o.arrival.kind == "chat"]
    return Overload(
        done / (OVER_S - SETTLED_S) / rate,
        _good(chats),
        _good([o for o in over if o.arrival.kind == "chips"]),
        _quantile(shed, 0.99),
        _ttft(chats),
        _good(after),
        _ttft(after) / _ttft(before),
    )


def _stream(
    rng: random.Random, kind: str, from_s: float, seconds: float, share: float
) -> list[Arrival]:
    """A Poisson stream that asks for this share of the fleet's rate."""
    per_s = share * COUNT * PTU * TPM / 60 / (PROMPT + WEIGHT * OUTPUT)
    arrivals, at = [], from_s + rng.expovariate(per_s)
    while at < from_s + seconds:
        arrivals.append(Arrival(at, PROMPT, OUTPUT, kind))
        at += rng.expovariate(per_s)
    return arrivals


def _started(outcomes: list[Outcome], from_s: float, seconds: float) -> list[Outcome]:
    return [o for o in outcomes if from_s <= o.started_s < from_s + seconds]


def _good(outcomes: list[Outcome]) -> float:
    return sum(o.ok for o in outcomes) / max(1, len(outcomes))


def _ttft(outcomes: list[Outcome]) -> float:
    return _quantile([o.ttft_s for o in outcomes if o.ttft_s is not None], 0.99)


def _quantile(values: list[float], q: float) -> float:
    return sorted(values)[int(q * len(values))] if values else 0.0
