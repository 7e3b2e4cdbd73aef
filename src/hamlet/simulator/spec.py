"""The specification of a simulated deployment: capacity, latency and wire format.

These are the actual properties of the simulated world. hamlet's configuration has assumptions about
them, and a test may let the two differ.
"""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

WireName = Literal["openai", "azure", "anthropic"]
_MAX_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Ptu:
    """Provisioned throughput: a leaky bucket of `depth_s` seconds' drain, without a queue.

    A minute drains `ptu * tpm_per_ptu` input-equivalent tokens; an output token counts
    `output_weight`. `default_output_tokens` are charged at admission if a request sets no
    limit.
    """

    ptu: int = 25
    tpm_per_ptu: int = 2500
    output_weight: float = 3.0
    depth_s: float = 30.0
    default_output_tokens: int = 1000
    reports_utilisation: bool = True

    @property
    def tokens_per_s(self) -> float:
        """Input-equivalent tokens that drain per second."""
        return self.ptu * self.tpm_per_ptu / 60

    @property
    def depth_tokens(self) -> float:
        """Input-equivalent tokens at 100 %."""
        return self.tokens_per_s * self.depth_s


@dataclass(frozen=True, slots=True)
class Payg:
    """A quota of tokens and requests per minute; None is unlimited.

    Requests are counted over the last `window_s` seconds, so 60 rpm refuse the 11th in 10 s:
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota
    """

    tpm: int | None = None
    rpm: int | None = None
    window_s: int = 10
    default_output_tokens: int = 1000


Capacity = Ptu | Payg


@dataclass(frozen=True, slots=True)
class Latency:
    """The latency of a deployment. Times are seconds.

    Time to first token: lognormal around `ttft_s` (median), plus `per_token_s` for each uncached
    prompt token, times `tail_factor` with `tail_chance`. Gaps between tokens: lognormal around
    `gap_s`. With `samples`, measured pairs of (ttft, gap), both are drawn from these.
    """

    ttft_s: float
    ttft_sigma: float
    gap_s: float
    gap_sigma: float = 0.3
    per_token_s: float = 0.0
    tail_chance: float = 0.0
    tail_factor: float = 1.0
    samples: tuple[tuple[float, float], ...] = ()

    def sample(self, rng: random.Random, uncached_tokens: int) -> tuple[float, float]:
        """(time to first token, median gap) of one answer, in seconds."""
        if self.samples:
            return rng.choice(self.samples)
        ttft = self.ttft_s * math.exp(rng.gauss(0.0, self.ttft_sigma))
        ttft += self.per_token_s * uncached_tokens
        if self.tail_chance and rng.random() < self.tail_chance:
            ttft *= self.tail_factor
        return ttft, self.gap_s

    def slowed_by(self, factor: float) -> Latency:
        """The same latency with all times multiplied by `factor`."""
        return replace(
            self,
            ttft_s=self.ttft_s * factor,
            per_token_s=self.per_token_s * factor,
            gap_s=self.gap_s * factor,
            samples=tuple((ttft * factor, gap * factor) for ttft, gap in self.samples),
        )


# Assumed latencies of the three kinds of deployment; see docs/simulator.md.
PTU_LATENCY = Latency(0.45, 0.45, 0.012, 0.3, per_token_s=40e-6)
PAYG_LATENCY = Latency(0.9, 0.6, 0.015, 0.5, tail_chance=0.01, tail_factor=6.0)
VENDOR_LATENCY = Latency(0.6, 0.5, 0.015, 0.5, tail_chance=0.001, tail_factor=60.0)


def load_latency(path: Path, provider: str | None = None, model_size: str | None = None) -> Latency:
    """Latency drawn from a CSV file with the columns provider, model_size, ttft_s, inter_token_s.

    Raises OSError, and ValueError if no row has that provider and size.
    """
    with path.open(newline="") as file:
        rows = [
            (float(row["ttft_s"]), float(row["inter_token_s"]))
            for row in csv.DictReader(file)
            if provider in (None, row["provider"]) and model_size in (None, row["model_size"])
        ]
    if not rows:
        raise ValueError(f"{path.name} has no call of {provider or 'any provider'}")
    return replace(VENDOR_LATENCY, samples=tuple(rows[:_MAX_SAMPLES]))


@dataclass(frozen=True, slots=True)
class SimulatedDeployment:
    """One simulated deployment, reached under the path /`name`/ as `model`.

    Deployments with the same name are models of one provider. `default_output_tokens` is the length
    of an answer if the request sets none; `tokens_per_frame` is the number of tokens per SSE event.
    """

    name: str
    model: str = "gpt-4o"
    wire: WireName = "azure"
    region: str = ""
    zone: str = ""
    capacity: Capacity | None = None
    latency: Latency = PTU_LATENCY
    default_output_tokens: int = 150
    tokens_per_frame: int = 4

    @property
    def id(self) -> str:
        """The id that hamlet gives the deployment: provider/model."""
        return f"{self.name}/{self.model}"

    @property
    def kind(self) -> Literal["ptu", "payg", "vendor"]:
        """The kind of deployment, by capacity and wire."""
        if isinstance(self.capacity, Ptu):
            return "ptu"
        return "payg" if self.wire == "azure" else "vendor"
