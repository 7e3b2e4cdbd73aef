"""When requests go out: fixed before the run, whatever the target does."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hamlet.simulator.traces import Arrival, generated, read_trace
from loadtest.scenario import Scenario, Size, Step


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: its number, when it goes out (seconds), and what it is."""

    number: int
    at_s: float
    stream: bool
    leaves: bool
    prompt: int
    output: int


def schedule(scenario: Scenario, size: Size, seed: int, traces: Path) -> list[Shot]:
    """The run's requests in order. The same seed gives the same list, byte for byte."""
    rng = random.Random(f"schedule:{scenario.name}:{seed}")
    rows = list(_arrivals(scenario, size, seed, traces, rng))
    shots = []
    for number, row in enumerate(rows):
        stream = rng.random() < scenario.stream
        leaves = stream and rng.random() < scenario.leave
        shots.append(Shot(number, row.at_s, stream, leaves, row.prompt, row.output))
    return shots


def _arrivals(
    scenario: Scenario, size: Size, seed: int, traces: Path, rng: random.Random
) -> Iterator[Arrival]:
    start = 0.0
    for step in scenario.steps(size):
        if step.trace_s:
            yield from _traced(traces / (scenario.trace or ""), step.trace_s, seed)
        else:
            for at in poisson(step, rng):
                yield Arrival(start + at, scenario.prompt_bytes // 4, scenario.output)
        start += step.length_s


def poisson(step: Step, rng: random.Random) -> Iterator[float]:
    """Arrivals of a Poisson process whose rate goes from `rate` to `end_rate`, by inversion."""
    mass, slope = 0.0, (step.end_rate - step.rate) / step.seconds
    while True:
        mass += rng.expovariate(1.0)
        # The time t at which rate*t + slope*t*t/2 reaches the mass drawn.
        if abs(slope) < 1e-9:
            at = mass / step.rate if step.rate else math.inf
        else:
            root = step.rate**2 + 2 * slope * mass
            at = (math.sqrt(root) - step.rate) / slope if root >= 0 else math.inf
        if at >= step.seconds:
            return
        yield at


def _traced(file: Path, seconds: float, seed: int) -> Sequence[Arrival]:
    rows = read_trace(file) if file.is_file() else generated(seed, max(seconds, 60.0))
    return [row for row in rows if row.at_s < seconds]
