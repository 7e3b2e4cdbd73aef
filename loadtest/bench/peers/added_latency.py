"""Latency that a gateway adds to a call below saturation: an open loop at fixed rates, interleaved."""

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
# A gateway that needs more of a core at a rate is left out: its latency would be that of a queue.
_MAX_UTILIZATION = 0.7


@dataclass(frozen=True, slots=True)
class PacedRound:
    """One gateway at one rate. `errors` is the number of calls that did not succeed."""

    latencies_s: Sequence[float]
    errors: int
    noise: Noise


@dataclass(frozen=True, slots=True)
class AddedLatency:
    """Latency of calls, and the part that the gateway added to a direct call, in milliseconds."""

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
    """Measure every gateway that is below saturation at a rate, and the upstream alone, in each."""
    rows = []
    for rate in RATES:
        sides = [LoadTarget("direct", bench.plain_url, KEY, "")]
        sides += [
            LoadTarget(one.name, one.url, KEY, "", one.headers)
            for one in contenders
            if one.entry.is_comparable_plain and cpu_us[one.name] * rate <= _MAX_UTILIZATION * 1e6
        ]
        # At the lower rate it takes longer to collect enough calls.
        length = seconds if rate < 100 else seconds / 4
        rounds_by_side: dict[str, list[PacedRound]] = {side.name: [] for side in sides}
        for number in range(rounds):
            schedule = _request_schedule(rate, length, number)
            for side in sides:
                rounds_by_side[side.name].append(_measure_round(bench, schedule, side))
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
        # If the sender itself was late, the round was disturbed, whatever the counters say.
        noise = Noise(noise.seconds, noise.steal, max(noise.others, 2.0))
    # Since the request was sent: the lag of the sender is not the gateway's.
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
        calls=sum(len(each.latencies_s) for each in select_quiet(own_rounds)),
        errors=sum(each.errors for each in own_rounds),
        p50_ms=quantile_ms(name, 0.5),
        p99_ms=quantile_ms(name, 0.99),
        added_p50_ms=quantile_ms(name, 0.5) - quantile_ms("direct", 0.5),
        added_p99_ms=quantile_ms(name, 0.99) - quantile_ms("direct", 0.99),
        kept=sum(each.noise.is_quiet for each in own_rounds),
        rounds=len(own_rounds),
    )
