"""What one simulated deployment is: capacity, speed, and the wire it speaks.

This is the truth of the simulated world. What hamlet's configuration says of a deployment is its
belief, and a test may let the two differ.
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
    `output_weight`. `unstated_output` is charged at admission where a request sets no limit.
    """

    ptu: int = 25
    tpm_per_ptu: int = 2500
    output_weight: float = 3.0
    depth_s: float = 30.0
    default_output_tokens: int = 1000
    reports_utilisation: bool = True

    @property
    def tokens_per_s(self) -> float:
        """Input-equivalent tokens that drain a second."""
        return self.ptu * self.tpm_per_ptu / 60

    @property
    def depth_tokens(self) -> float:
        """Input-equivalent tokens at 100 %."""
        return self.tokens_per_s * self.depth_s


@dataclass(frozen=True, slots=True)
class Payg:
    """A quota of tokens and requests a minute; None is unlimited.

    Requests are judged over the last `window_s` seconds, so 60 rpm refuse the 11th in 10 s:
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota
    """

    tpm: int | None = None
    rpm: int | None = None
    window_s: int = 10
    default_output_tokens: int = 1000


Capacity = Ptu | Payg


@dataclass(frozen=True, slots=True)
class Latency:
    """How fast a deployment answers. Seconds.

    Time to first token: lognormal around `ttft_s` (median), plus `per_token_s` for each uncached
    prompt token, times `tail_factor` with `tail_chance`. Gaps between tokens: lognormal around
    `gap_s`. With `rows`, pairs of (ttft, gap) as measured somewhere, both are drawn from these.
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
        """(time to first token, median gap) of one answer."""
        if self.samples:
            return rng.choice(self.samples)
        ttft = self.ttft_s * math.exp(rng.gauss(0.0, self.ttft_sigma))
        ttft += self.per_token_s * uncached_tokens
        if self.tail_chance and rng.random() < self.tail_chance:
            ttft *= self.tail_factor
        return ttft, self.gap_s

    def slowed_by(self, factor: float) -> Latency:
        """The same, `factor` times as slow throughout."""
        return replace(
            self,
            ttft_s=self.ttft_s * factor,
            per_token_s=self.per_token_s * factor,
            gap_s=self.gap_s * factor,
            samples=tuple((ttft * factor, gap * factor) for ttft, gap in self.samples),
        )


# The draws that the fleet design suggests (section 4), and the PTU model of its section 3.9.
PTU_LATENCY = Latency(0.45, 0.45, 0.012, 0.3, per_token_s=40e-6)
PAYG_LATENCY = Latency(0.9, 0.6, 0.015, 0.5, tail_chance=0.01, tail_factor=6.0)
VENDOR_LATENCY = Latency(0.6, 0.5, 0.015, 0.5, tail_chance=0.001, tail_factor=60.0)


def load_latency(path: Path, provider: str | None = None, model_size: str | None = None) -> Latency:
    """Draws from a table of calls with the columns provider, model_size, ttft_s, inter_token_s.

    Raises ValueError if no row is of that provider and size.
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

    Two with one name are two models of one provider. `answer_tokens` is the length of an answer
    to a request that does not say; `tokens_per_frame` how many tokens share an SSE event.
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
        """As hamlet names deployments: provider/model."""
        return f"{self.name}/{self.model}"

    @property
    def kind(self) -> Literal["ptu", "payg", "vendor"]:
        """What sort of deployment it is, by capacity and wire."""
        if isinstance(self.capacity, Ptu):
            return "ptu"
        return "payg" if self.wire == "azure" else "vendor"
