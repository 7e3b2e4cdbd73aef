"""When requests are sent: fixed before the run, independent of the target."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamlet.simulator.arrival_traces import Arrival, generate_trace, read_trace
from loadtest.engine.scenario import LoadStep, Scenario, Size


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """One request: its number, when it is sent (seconds from the start), and its size."""

    number: int
    at_s: float
    stream: bool
    disconnects: bool
    prompt_tokens: int
    output_tokens: int


def build_schedule(
    scenario: Scenario, size: Size, seed: int, traces: Path
) -> list[ScheduledRequest]:
    """The run's requests in order. The same seed gives the same list, byte for byte."""
    rng = random.Random(f"schedule:{scenario.name}:{seed}")
    rows = list(_arrivals(scenario, size, seed, traces, rng))
    requests = []
    for number, row in enumerate(rows):
        stream = rng.random() < scenario.stream
        disconnects = stream and rng.random() < scenario.leave
        requests.append(
            ScheduledRequest(
                number, row.at_s, stream, disconnects, row.prompt_tokens, row.output_tokens
            )
        )
    return requests


def _arrivals(
    scenario: Scenario, size: Size, seed: int, traces: Path, rng: random.Random
) -> Iterator[Arrival]:
    start = 0.0
    for step in scenario.steps(size):
        if step.trace_s:
            yield from _trace_arrivals(traces / (scenario.trace or ""), step.trace_s, seed)
        else:
            for at in poisson_arrivals(step, rng):
                yield Arrival(start + at, scenario.prompt_bytes // 4, scenario.output)
        start += step.length_s


def poisson_arrivals(step: LoadStep, rng: random.Random) -> Iterator[float]:
    """Arrivals of a Poisson process whose rate goes from `rate` to `end_rate`, by inversion."""
    cumulative, slope = 0.0, (step.end_rate - step.rate) / step.seconds
    while True:
        cumulative += rng.expovariate(1.0)
        # The time t at which rate*t + slope*t*t/2 reaches the mass drawn.
        if abs(slope) < 1e-9:
            at = cumulative / step.rate if step.rate else math.inf
        else:
            root = step.rate**2 + 2 * slope * cumulative
            at = (math.sqrt(root) - step.rate) / slope if root >= 0 else math.inf
        if at >= step.seconds:
            return
        yield at


def _trace_arrivals(file: Path, seconds: float, seed: int) -> Sequence[Arrival]:
    rows = read_trace(file) if file.is_file() else generate_trace(seed, max(seconds, 60.0))
    return [row for row in rows if row.at_s < seconds]
