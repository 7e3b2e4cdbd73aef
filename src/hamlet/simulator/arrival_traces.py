"""Traces of load: arrival times and token counts of requests, without any text.

A trace file has the columns `arrival_s,prompt_tokens,completion_tokens` and optionally `class`.
Times are seconds from the start, in order.
"""

from __future__ import annotations

import csv
import math
import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: its arrival in seconds, its tokens, and its class ("" if unknown)."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    kind: str = ""


def read_trace(path: Path) -> list[Arrival]:
    """The rows of a trace file. Raises OSError, and ValueError with the line of an invalid row."""
    arrivals: list[Arrival] = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                arrivals.append(_parse_arrival(row))
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"{path.name}:{line}: not a row of a trace") from None
    if any(a.at_s > b.at_s for a, b in pairwise(arrivals)):
        raise ValueError(f"{path.name}: arrivals are not in order")
    return arrivals


def _parse_arrival(row: dict[str, str]) -> Arrival:
    at = float(row["arrival_s"])
    tokens = int(row["prompt_tokens"]), int(row["completion_tokens"])
    if not math.isfinite(at) or at < 0 or min(tokens) < 0:
        raise ValueError
    return Arrival(at, *tokens, row.get("class") or "")


def write_trace(path: Path, arrivals: Iterable[Arrival]) -> None:
    """Write a trace file that `read_trace` reads."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["arrival_s", "prompt_tokens", "completion_tokens", "class"])
        rows.writerows(
            [f"{a.at_s:.3f}", a.prompt_tokens, a.output_tokens, a.kind] for a in arrivals
        )


def compress_trace(arrivals: Sequence[Arrival], factor: float) -> list[Arrival]:
    """The same requests in 1/`factor` of the time, which multiplies the load by `factor`."""
    return [replace(arrival, at_s=arrival.at_s / factor) for arrival in arrivals]


def slice_trace(arrivals: Sequence[Arrival], from_s: float, to_s: float) -> list[Arrival]:
    """The part of a trace in [from_s, to_s), starting at 0."""
    cut = (arrival for arrival in arrivals if from_s <= arrival.at_s < to_s)
    return [replace(arrival, at_s=arrival.at_s - from_s) for arrival in cut]


@dataclass(frozen=True, slots=True)
class _RequestClass:
    """One class of requests: its share, and (share, tokens) points of two quantile functions."""

    kind: str
    share: float
    prompt_quantiles: tuple[tuple[float, int], ...]
    output_quantiles: tuple[tuple[float, int], ...]


_CHAT = _RequestClass(
    "chat",
    11_471 / 15_000,
    ((0, 2), (0.01, 31), (0.05, 181), (0.1, 206), (0.25, 394), (0.42, 447), (0.45, 883),
     (0.5, 1001), (0.75, 1229), (0.8, 1349), (0.85, 2010), (0.9, 2842), (0.95, 4083),
     (0.99, 4158), (1, 7650)),
    ((0, 7), (0.01, 16), (0.05, 42), (0.1, 54), (0.25, 83), (0.5, 114), (0.6, 148), (0.7, 217),
     (0.75, 385), (0.9, 418), (0.95, 444), (0.99, 588), (1, 1000)),
)  # fmt: skip
_SHORT = _RequestClass(
    "short",
    3_529 / 15_000,
    ((0, 3), (0.01, 22), (0.05, 85), (0.1, 165), (0.25, 588), (0.5, 1454), (0.75, 2623),
     (0.9, 4804), (0.95, 7404), (1, 7437)),
    ((0, 6), (0.1, 7), (0.25, 9), (0.5, 13), (0.75, 23), (0.9, 52), (0.95, 82), (0.99, 225),
     (0.999, 895), (1, 1899)),
)  # fmt: skip
_RPM = 750.0


def generate_trace(seed: int, duration_s: float = 1200.0, rpm: float = _RPM) -> list[Arrival]:
    """A trace like Azure's production load of November 2023, with `rpm` requests per minute.

    It reproduces a 20-minute mix of that data (Azure Public Dataset, CC-BY 4.0; Patel et al.,
    "Splitwise", ISCA 2024): the shares of the classes (chat 76.5 %), the quantiles of prompt and
    output tokens of each, nearly Poisson chat arrivals (coefficient of variation of the gaps 1.05),
    and short requests in bursts (none in two thirds of all seconds, about 50 in the busiest, gaps'
    CV 13, autocorrelation of seconds 0.78), so that the busiest half minutes have about twice the
    mean load. The number of requests is exact. Token counts are independent of one another, as
    they nearly are in the data (|r| < 0.1). The strength of bursts depends on the seed.
    """
    rng = random.Random(f"trace:{seed}")
    total = round(duration_s * rpm / 60)
    chats = round(total * _CHAT.share)
    seconds = math.ceil(duration_s)
    made = _sample_arrivals(rng, _CHAT, chats, _drifting_rates(rng, seconds), duration_s)
    made += _sample_arrivals(rng, _SHORT, total - chats, _bursty_rates(rng, seconds), duration_s)
    return sorted(made, key=lambda arrival: arrival.at_s)


def _sample_arrivals(
    rng: random.Random, shape: _RequestClass, count: int, rates: Sequence[float], duration_s: float
) -> list[Arrival]:
    """`count` arrivals of a Poisson process with these rates by second, given their number."""
    cumulated = list(accumulate(rates))
    made = []
    for _ in range(count):
        target = rng.random() * cumulated[-1]
        second = bisect_left(cumulated, target)
        at = min(second + rng.random(), duration_s - 0.001)
        made.append(
            Arrival(
                at,
                _sample_tokens(rng, shape.prompt_quantiles),
                _sample_tokens(rng, shape.output_quantiles),
                shape.kind,
            )
        )
    return made


def _sample_tokens(rng: random.Random, points: Sequence[tuple[float, int]]) -> int:
    """Tokens by the inverse of a distribution function, log-linear between its points."""
    share = rng.random()
    for (low, a), (high, b) in pairwise(points):
        if share <= high:
            part = (share - low) / (high - low)
            return round(math.exp(math.log(a) + part * (math.log(b) - math.log(a))))
    return points[-1][1]


def _drifting_rates(rng: random.Random, seconds: int) -> list[float]:
    """Rates around 1 from an AR(1) process with a deviation of 10 % over a minute."""
    level, rates = 0.0, []
    keep = math.exp(-1 / 60)
    for _ in range(seconds):
        level = keep * level + rng.gauss(0.0, 0.12 * math.sqrt(1 - keep * keep))
        rates.append(math.exp(level))
    return rates


def _bursty_rates(rng: random.Random, seconds: int) -> list[float]:
    """Rates that are mostly 0: heavy-tailed pauses between bursts of varying strength."""
    rates: list[float] = []
    while len(rates) < seconds:
        rates += [0.0] * min(int(rng.lognormvariate(math.log(8.0), 1.5)), 180)
        strength, level = rng.lognormvariate(0.0, 0.5), rng.gauss(0.0, 0.5)
        for _ in range(max(1, int(rng.expovariate(1 / 11.0)))):
            level = 0.8 * level + rng.gauss(0.0, 0.3)
            rates.append(strength * math.exp(level))
    rates = rates[:seconds]
    return rates if any(rates) else [1.0] * seconds
