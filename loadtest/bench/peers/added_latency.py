"""What a gateway adds to a call when it is not pressed: an open loop at a fixed rate, in turns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from loadtest.bench.gateways import KEY
from loadtest.bench.rounds import Noise, NoiseMeter, select_quiet
from loadtest.bench.stand import BODY, CHAT, Bench, Contender
from loadtest.engine.open_loop import LoadTarget, RequestSpec, run_open_loop
from loadtest.engine.quantiles import quantile
from loadtest.engine.scenario import LoadStep
from loadtest.engine.schedule import ScheduledRequest, poisson_arrivals

RATES = (12.5, 200.0)
_MAX_LAG_S = 0.02
# Who needs more of a core than this at a rate is not asked: it would tell how a queue grows.
_MAX_UTILIZATION = 0.7


@dataclass(frozen=True, slots=True)
class PacedRound:
    """One gateway at one rate for a while. Seconds; `errors` are calls that were not answered."""

    latencies_s: Sequence[float]
    errors: int
    noise: Noise


@dataclass(frozen=True, slots=True)
class AddedLatency:
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


def measure_added_latency(
    bench: Bench,
    contenders: Sequence[Contender],
    cpu_us: dict[str, float],
    rounds: int,
    seconds: float,
) -> list[AddedLatency]:
    """All that are not pressed at a rate, and the upstream alone, in turns."""
    rows = []
    for rate in RATES:
        sides = [LoadTarget("direct", bench.plain_url, KEY, "")]
        sides += [
            LoadTarget(one.name, one.url, KEY, "", one.headers)
            for one in contenders
            if one.entry.is_comparable_plain and cpu_us[one.name] * rate <= _MAX_UTILIZATION * 1e6
        ]
        # The rare calls need longer to be many.
        length = seconds if rate < 100 else seconds / 4
        rounds_by_side: dict[str, list[PacedRound]] = {side.name: [] for side in sides}
        for number in range(rounds):
            shots = _request_schedule(rate, length, number)
            for side in sides:
                rounds_by_side[side.name].append(_measure_round(bench, shots, side))
                print(f"{rate:g}/s {number + 1} {side.name}", flush=True)
        rows += [_summarize(name, rate, rounds_by_side) for name in rounds_by_side]
    return rows


def _request_schedule(rate: float, seconds: float, number: int) -> list[ScheduledRequest]:
    times = poisson_arrivals(
        LoadStep(rate=rate, seconds=seconds), random.Random(f"{rate}:{number}")
    )
    return [ScheduledRequest(i, at, False, False, 0, 0) for i, at in enumerate(times)]


def _measure_round(
    bench: Bench, schedule: Sequence[ScheduledRequest], side: LoadTarget
) -> PacedRound:
    noise_meter = NoiseMeter(bench.processes)
    samples, _ = uvloop.run(
        run_open_loop(schedule, [side], make_request=lambda *_: RequestSpec("POST", CHAT, BODY))
    )
    noise = noise_meter.read_noise()
    lag = quantile([s.sent - s.intended for s in samples], 0.99) or 0.0
    if lag > _MAX_LAG_S:
        # A sender that is late itself was disturbed, whatever the counters say.
        noise = Noise(noise.seconds, noise.steal, max(noise.others, 2.0))
    # From when it was sent: the sender's own lag is nothing that the gateway adds.
    waits = [s.last - s.sent for s in samples if s.outcome == "ok"]
    return PacedRound(waits, len(samples) - len(waits), noise)


def _summarize(name: str, rate: float, rounds_by_side: dict[str, list[PacedRound]]) -> AddedLatency:
    def quantile_ms(side_name: str, q: float) -> float:
        return (
            quantile([w for t in select_quiet(rounds_by_side[side_name]) for w in t.latencies_s], q)
            or 0.0
        ) * 1000

    own_rounds = rounds_by_side[name]
    return AddedLatency(
        name=name,
        rate=rate,
        calls=sum(len(turn.latencies_s) for turn in select_quiet(own_rounds)),
        errors=sum(turn.errors for turn in own_rounds),
        p50_ms=quantile_ms(name, 0.5),
        p99_ms=quantile_ms(name, 0.99),
        added_p50_ms=quantile_ms(name, 0.5) - quantile_ms("direct", 0.5),
        added_p99_ms=quantile_ms(name, 0.99) - quantile_ms("direct", 0.99),
        kept=sum(turn.noise.is_quiet for turn in own_rounds),
        rounds=len(own_rounds),
    )
