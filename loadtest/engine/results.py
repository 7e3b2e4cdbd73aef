"""What a run showed: its samples, kept whole so that percentiles are exact, and its figures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.engine.quantiles import quantile
from loadtest.engine.scenario import Check

MAX_LAG_S = 0.020
# Rejecting is the right response to overload if it is fast.
_REFUSALS = ("status 429", "status 503", "status 529")
_SUCCESSES = ("ok", "left")


@dataclass(slots=True)
class Sample:
    """One request. Times are seconds since the run's start; NaN if that point was never reached."""

    number: int
    side: str
    intended: float
    sent: float = math.nan
    first: float = math.nan
    last: float = math.nan
    outcome: str = "unfinished"
    chunks: int = 0
    says_when: bool = False
    kind: str = ""

    @property
    def latency(self) -> float:
        """From the intended start to the end."""
        return self.last - self.intended

    @property
    def ttft(self) -> float:
        """From the intended start to the first content."""
        return self.first - self.intended


@dataclass(slots=True)
class ResourceSample:
    """Resources of the target at one time, sampled once a second."""

    at: float
    cpu_s: float = math.nan
    rss_mib: float = math.nan
    descriptors: int = 0
    lag_ms: float = math.nan
    tasks: float = math.nan


@dataclass(slots=True)
class RunResult:
    """The samples and settings of a run. `steps` are (start, rate, length) of the schedule.

    With `until_broken` the steps rise until the target cannot keep up: requests after that step do
    not count, since the sender may be overloaded too. `looks` are the resource samples.
    """

    scenario: str
    size: str
    seed: int
    target: str
    machine: str
    commit: str
    started_at: str
    length_s: float
    steps: list[tuple[float, float, float]]
    samples: list[Sample]
    looks: list[ResourceSample]
    in_flight_after: float | None = None
    until_broken: bool = False
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    def samples_of(self, side: str = "target") -> list[Sample]:
        """The samples of one side: "target" or "direct"."""
        return [sample for sample in self.samples if sample.side == side]

    @property
    def invalid(self) -> str | None:
        """Why the run does not measure the target; None if it does."""
        samples = self.samples
        if self.until_broken:
            until = self._breaking_point_s()
            samples = [s for s in samples if s.intended < until]
        unsent = sum(math.isnan(s.sent) for s in samples)
        if unsent:
            return f"{unsent} arrivals were never sent"
        lag = _sender_lag_s(samples)
        if lag > MAX_LAG_S:
            return f"the sender lagged: p99 {lag * 1000:.0f} ms over {MAX_LAG_S * 1000:.0f} ms"
        if any(s.outcome == "unfinished" for s in samples):
            return "a request neither ended nor was cancelled"
        return None

    def figures(self) -> dict[str, float | None]:
        """Every figure that checks can name; None if it is unknown."""
        target_samples = self.samples_of()
        failed = [s for s in target_samples if s.outcome not in _SUCCESSES]
        refused = [s for s in target_samples if s.outcome in _REFUSALS]
        succeeded = [s for s in target_samples if s.outcome == "ok"]
        unexcused = [s for s in failed if not (s.outcome in _REFUSALS and s.says_when)]
        return {
            "requests": float(len(target_samples)),
            "failed_share": len(failed) / max(len(target_samples), 1),
            "unexcused_share": len(unexcused) / max(len(target_samples), 1),
            "refusal_p99_ms": _to_ms(quantile([s.latency for s in refused], 0.99)) or 0.0,
            "p50_ms": _to_ms(quantile([s.latency for s in succeeded], 0.5)),
            "p95_ms": _to_ms(quantile([s.latency for s in succeeded], 0.95)),
            "p99_ms": _to_ms(quantile([s.latency for s in succeeded], 0.99)),
            "ttft_p50_ms": _to_ms(quantile([s.ttft for s in succeeded], 0.5)),
            "ttft_p99_ms": _to_ms(quantile([s.ttft for s in succeeded], 0.99)),
            "overhead_p95_ms": self._overhead_ms("latency", 0.95),
            "ttft_overhead_p99_ms": self._overhead_ms("ttft", 0.99),
            "sender_lag_p99_ms": _sender_lag_s(self.samples) * 1000,
            "cpu_share": self._cpu_share(),
            "loop_lag_max_ms": max(
                (x.lag_ms for x in self.looks if x.lag_ms == x.lag_ms), default=None
            ),
            "rss_slope_mib_h": _slope_per_h([(x.at, x.rss_mib) for x in self.looks]),
            "descriptor_slope_h": _slope_per_h([(x.at, float(x.descriptors)) for x in self.looks]),
            "descriptor_growth": _floor_growth([(x.at, float(x.descriptors)) for x in self.looks]),
            "task_growth": _floor_growth([(x.at, x.tasks) for x in self.looks]),
            "knee_rpm": self._knee_rpm(),
            "in_flight_after": self.in_flight_after,
        }

    def evaluate_checks(self, checks: Iterable[Check]) -> bool:
        """Fill in `verdicts`; whether all checks pass."""
        figures = self.figures()
        self.verdicts = [
            {
                **check.model_dump(exclude_none=True),
                "value": figures[check.figure],
                "passed": check.passes(figures[check.figure]),
            }
            for check in checks
        ]
        return all(check_result["passed"] for check_result in self.verdicts)

    def _overhead_ms(self, attribute: str, q: float) -> float | None:
        """The quantile through the target minus the quantile of direct requests."""
        sides = []
        for side in ("target", "direct"):
            found = [getattr(s, attribute) for s in self.samples_of(side) if s.outcome == "ok"]
            sides.append(quantile(found, q))
        through, direct = sides
        return None if through is None or direct is None else (through - direct) * 1000

    def _cpu_share(self) -> float | None:
        known = [x for x in self.looks if x.cpu_s == x.cpu_s]
        if len(known) < 2:
            return None
        return (known[-1].cpu_s - known[0].cpu_s) / max(known[-1].at - known[0].at, 1e-9)

    def _knee_rpm(self) -> float | None:
        """The highest rate per minute that was sustained; None if not even the first step was."""
        return next((rate * 60 for _, rate, _ in reversed(self._sustained_steps())), None)

    def _sustained_steps(self) -> list[tuple[float, float, float]]:
        """The steps before the first that was not sustained.

        All requests of a step must have been sent on time and have succeeded, 95 % of them within
        half a second.
        """
        sustained = []
        for start, rate, length in self.steps:
            step_samples = [s for s in self.samples_of() if start <= s.intended < start + length]
            slow = quantile([s.latency for s in step_samples], 0.95)
            failed = (
                any(s.outcome != "ok" for s in step_samples)
                or _sender_lag_s(step_samples) > MAX_LAG_S
            )
            if not step_samples or failed or (slow or 0) > 0.5:
                break
            sustained.append((start, rate, length))
        return sustained

    def _breaking_point_s(self) -> float:
        """The end of the last sustained step, or of the first step if none was, in seconds."""
        sustained = self._sustained_steps() or self.steps[:1]
        return sustained[-1][0] + sustained[-1][2]

    def outcome_counts(self) -> Mapping[str, int]:
        """The target's outcomes with their counts."""
        return Counter(s.outcome for s in self.samples_of())

    def save(self, file: Path) -> None:
        """Write everything as JSON."""
        data = asdict(self) | {"figures": self.figures(), "invalid": self.invalid}
        file.write_text(json.dumps(data))

    @classmethod
    def read(cls, file: Path) -> RunResult:
        """Read a saved run."""
        data = json.loads(file.read_text())
        del data["figures"], data["invalid"]
        data["samples"] = [Sample(**row) for row in data["samples"]]
        data["looks"] = [ResourceSample(**row) for row in data["looks"]]
        data["steps"] = [tuple(row) for row in data["steps"]]
        return cls(**data)


def _sender_lag_s(samples: Sequence[Sample]) -> float:
    """The 99th percentile of the sender's lag, in seconds."""
    return quantile([s.sent - s.intended for s in samples], 0.99) or 0.0


def _floor_growth(points: Sequence[tuple[float, float]]) -> float | None:
    """How much the lower quartile rose from the second fifth of the run to the last.

    The lower quartile, since calls in flight come and go; the first fifth warms up.
    """
    known = [y for _, y in points if y == y]
    fifth = len(known) // 5
    if not fifth:
        return None
    early, late = sorted(known[fifth : 2 * fifth]), sorted(known[-fifth:])
    return late[fifth // 4] - early[fifth // 4]


def _to_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _slope_per_h(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope per hour by least squares over the second half of the run; the first half warms up."""
    known = [(x, y) for x, y in points if y == y]
    half = known[len(known) // 2 :]
    if len(half) < 3:
        return None
    mean_x = sum(x for x, _ in half) / len(half)
    mean_y = sum(y for _, y in half) / len(half)
    spread = sum((x - mean_x) ** 2 for x, _ in half)
    return sum((x - mean_x) * (y - mean_y) for x, y in half) / spread * 3600 if spread else None
