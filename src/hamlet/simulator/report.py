"""The result of a run: the outcome of every request, and summary figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hamlet.core.errors import HamletError
from hamlet.simulator.arrival_traces import Arrival


@dataclass(slots=True)
class RequestOutcome:
    """The outcome of one request. Times are seconds.

    `deployment` is the last one attempted; `tier` counts from 0 and is -1 without an answer.
    """

    arrival: Arrival
    started_s: float
    deadline_s: float | None = None
    ok: bool = False
    error: HamletError | None = None
    ttft_s: float | None = None
    duration_s: float = 0.0
    output_tokens: int = 0
    deployment: str = ""
    tier: int = -1
    attempts: int = 0
    client_disconnected: bool = False
    request_id: str = ""


@dataclass(slots=True)
class SimulationReport:
    """The outcomes of a run and its attempts; `rate_limited_at_s` are the seconds of 429s."""

    outcomes: list[RequestOutcome] = field(default_factory=list)
    attempts: int = 0
    attempt_errors: Counter[str] = field(default_factory=Counter)
    attempts_by_deployment: Counter[str] = field(default_factory=Counter)
    rate_limited_at_s: list[float] = field(default_factory=list)
    final_state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def success_ratio(self) -> float:
        """Share of requests with a complete answer."""
        return _ratio(sum(o.ok for o in self.outcomes), len(self.outcomes))

    @property
    def rate_limited_count(self) -> int:
        """Attempts that an upstream answered with 429."""
        return len(self.rate_limited_at_s)

    @property
    def errors(self) -> Counter[str]:
        """Requests that failed, by error code."""
        return Counter(o.error.code for o in self.outcomes if o.error is not None)

    @property
    def attempts_per_request(self) -> float:
        """Upstream attempts per request."""
        return _ratio(self.attempts, len(self.outcomes))

    @property
    def rate_limited_ratio(self) -> float:
        """Share of attempts that an upstream answered with 429."""
        return _ratio(self.rate_limited_count, self.attempts)

    @property
    def share_by_tier(self) -> dict[int, float]:
        """Share of the answered requests by tier."""
        counted = Counter(o.tier for o in self.outcomes if o.ok)
        return {tier: n / counted.total() for tier, n in sorted(counted.items())}

    @property
    def goodput_tokens(self) -> int:
        """Output tokens of the complete answers."""
        return sum(o.output_tokens for o in self.outcomes if o.ok)

    def ttft_s(self, quantile: float) -> float:
        """A quantile of the time to first content, in seconds, of requests that got any."""
        times = sorted(o.ttft_s for o in self.outcomes if o.ttft_s is not None)
        return times[min(len(times) - 1, int(quantile * len(times)))] if times else 0.0

    def past_deadline(self, grace_s: float = 1.0) -> list[RequestOutcome]:
        """Requests that ended more than `grace_s` seconds after their deadline."""
        return [
            o
            for o in self.outcomes
            if o.deadline_s is not None and o.duration_s > o.deadline_s + grace_s
        ]

    def summary(self) -> str:
        """The main figures in one line."""
        tiers = " ".join(f"t{tier}={share:.2%}" for tier, share in self.share_by_tier.items())
        return (
            f"{len(self.outcomes)} requests, success {self.success_ratio:.3%}, "
            f"attempts/request {self.attempts_per_request:.3f}, "
            f"429s {self.rate_limited_ratio:.2%}, "
            f"TTFT p50 {self.ttft_s(0.5):.2f} s p99 {self.ttft_s(0.99):.2f} s, {tiers}"
        )


def _ratio(part: int, total: int) -> float:
    return part / total if total else 0.0
