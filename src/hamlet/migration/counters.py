"""Counts since a feature's last transition: the evidence for its next promotion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hamlet.migration.window import ArmOutcome, wilson_interval

Verdict = Literal[
    "equal",
    "tolerated",
    "contract_mismatch",
    "content_drift",
    "candidate_failed",
    "control_failed",
]
VERDICTS: tuple[Verdict, ...] = (
    "equal",
    "tolerated",
    "contract_mismatch",
    "content_drift",
    "candidate_failed",
    "control_failed",
)
ComparisonKind = Literal["candidate", "noise", "reverse"]


@dataclass(slots=True)
class FeatureCounters:
    """One feature since `epoch`: outcomes and costs by arm, verdicts by kind of comparison.

    `priced` counts the responses of known cost, `nano_usd` is the sum of those costs.
    """

    epoch: int = 0
    legacy: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    candidate: Counter[str] = field(default_factory=Counter)
    noise: Counter[str] = field(default_factory=Counter)
    reverse: Counter[str] = field(default_factory=Counter)
    priced: Counter[str] = field(default_factory=Counter)
    nano_usd: Counter[str] = field(default_factory=Counter)

    def count_request(self, arm: Literal["legacy", "new"], outcome: ArmOutcome) -> None:
        """Count a finished request."""
        (self.new if arm == "new" else self.legacy)[outcome] += 1

    def count_comparison(self, kind: ComparisonKind, verdict: Verdict) -> None:
        """Count a comparison."""
        {"noise": self.noise, "reverse": self.reverse}.get(kind, self.candidate)[verdict] += 1

    def add_cost(self, arm: Literal["legacy", "new"], usd: float) -> None:
        """Count a response of known cost, US dollars."""
        self.priced[arm] += 1
        self.nano_usd[arm] += round(usd * 1e9)

    def mean_usd(self, arm: Literal["legacy", "new"]) -> float:
        """The mean cost of an arm's response, US dollars; 0 if none has a known cost."""
        return self.nano_usd[arm] / self.priced[arm] / 1e9 if self.priced[arm] else 0.0

    @property
    def comparisons(self) -> int:
        """Comparisons that are evidence about the new arm."""
        return self.candidate.total() - self.candidate["control_failed"]

    @property
    def evaluated_new(self) -> int:
        """Requests that are evidence about the new arm."""
        return sum(self.new[outcome] for outcome in ("ok", "failed", "rescued"))

    @property
    def bad_new(self) -> int:
        """Those of them that failed, rescued or not."""
        return self.new["failed"] + self.new["rescued"]

    def drift_excess(self) -> tuple[float, float]:
        """How much more often the new arm drifts than hamlet1 does from itself: a 95 % interval.

        Newcombe (1998), "Interval estimation for the difference between independent proportions",
        method 10: a hybrid of two Wilson intervals. https://pubmed.ncbi.nlm.nih.gov/9595617/
        """
        ours, all_ours = self.candidate["content_drift"], self.comparisons
        noise, all_noise = self.noise["content_drift"], self.noise.total()
        if not all_ours:
            return -1.0, 1.0
        p, (low, high) = ours / all_ours, wilson_interval(ours, all_ours)
        if not all_noise:
            return low, high
        q, (low_q, high_q) = noise / all_noise, wilson_interval(noise, all_noise)
        below = math.hypot(p - low, high_q - q)
        above = math.hypot(high - p, q - low_q)
        return p - q - below, p - q + above

    def merge(self, other: FeatureCounters) -> FeatureCounters:
        """The sum of both."""
        parts = (getattr(self, name) + getattr(other, name) for name in _COUNTER_FIELDS)
        return FeatureCounters(max(self.epoch, other.epoch), *parts)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for the journal and the admin API."""
        parts = {name: dict(getattr(self, name)) for name in _COUNTER_FIELDS}
        return {"epoch": self.epoch, **parts}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureCounters:
        """The inverse of `to_dict`."""
        return cls(data["epoch"], *(Counter(data.get(name, ())) for name in _COUNTER_FIELDS))


_COUNTER_FIELDS = ("legacy", "new", "candidate", "noise", "reverse", "priced", "nano_usd")
