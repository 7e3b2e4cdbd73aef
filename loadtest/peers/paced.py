"""What a gateway adds to a call when it is not pressed: an open loop at a fixed rate, in turns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from loadtest.engine import Ask, Side, run
from loadtest.outcome import quantile
from loadtest.peers.gateways import KEY
from loadtest.peers.rounds import Ear, Noise, kept
from loadtest.peers.stand import BODY, CHAT, Bench, Contender
from loadtest.scenario import Step
from loadtest.schedule import Shot, poisson

RATES = (12.5, 200.0)
_MOST_LAG_S = 0.02
# Who needs more of a core than this at a rate is not asked: it would tell how a queue grows.
_MOST_LOAD = 0.7


@dataclass(frozen=True, slots=True)
class Turn:
    """One gateway at one rate for a while. Seconds; `errors` are calls that were not answered."""

    waits: Sequence[float]
    errors: int
    noise: Noise


@dataclass(frozen=True, slots=True)
class Added:
    """What calls took, in milliseconds, and what of that the gateway added to a direct call."""

    name: str
    rate: float
    calls: int
    errors: int
    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    kept: int
    rounds: int


def paced(
    bench: Bench, standing: Sequence[Contender], us: dict[str, float], rounds: int, seconds: float
) -> list[Added]:
    """All that are not pressed at a rate, and the upstream alone, in turns."""
    rows = []
    for rate in RATES:
        sides = [Side("direct", bench.plain, KEY, "")]
        sides += [
            Side(one.name, one.url, KEY, "", one.headers)
            for one in standing
            if one.entry.is_plain and us[one.name] * rate <= _MOST_LOAD * 1e6
        ]
        # The rare calls need longer to be many.
        length = seconds if rate < 100 else seconds / 4
        turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
        for number in range(rounds):
            shots = _shots(rate, length, number)
            for side in sides:
                turns[side.name].append(_turn(bench, shots, side))
                print(f"{rate:g}/s {number + 1} {side.name}", flush=True)
        rows += [_added(name, rate, turns) for name in turns]
    return rows


def _shots(rate: float, seconds: float, number: int) -> list[Shot]:
    times = poisson(Step(rate=rate, seconds=seconds), random.Random(f"{rate}:{number}"))
    return [Shot(i, at, False, False, 0, 0) for i, at in enumerate(times)]


def _turn(bench: Bench, shots: Sequence[Shot], side: Side) -> Turn:
    ear = Ear(bench.processes)
    samples, _ = uvloop.run(run(shots, [side], words=lambda *_: Ask("POST", CHAT, BODY)))
    noise = ear.heard()
    lag = quantile([s.sent - s.intended for s in samples], 0.99) or 0.0
    if lag > _MOST_LAG_S:
        # A sender that is late itself was disturbed, whatever the counters say.
        noise = Noise(noise.seconds, noise.steal, max(noise.others, 2.0))
    # From when it was sent: the sender's own lag is nothing that the gateway adds.
    waits = [s.last - s.sent for s in samples if s.outcome == "ok"]
    return Turn(waits, len(samples) - len(waits), noise)


def _added(name: str, rate: float, turns: dict[str, list[Turn]]) -> Added:
    def at(who: str, q: float) -> float:
        return (quantile([w for t in kept(turns[who]) for w in t.waits], q) or 0.0) * 1000

    mine = turns[name]
    return Added(
        name=name,
        rate=rate,
        calls=sum(len(turn.waits) for turn in kept(mine)),
        errors=sum(turn.errors for turn in mine),
        p50_ms=at(name, 0.5),
        p99_ms=at(name, 0.99),
        added_p50_ms=at(name, 0.5) - at("direct", 0.5),
        added_p99_ms=at(name, 0.99) - at("direct", 0.99),
        kept=sum(turn.noise.is_quiet for turn in mine),
        rounds=len(mine),
    )
