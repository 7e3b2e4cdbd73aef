"""A sliding window over the requests of both arms of a feature. Times are monotonic seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hamlet.migration.rollout_document import Arm

ArmOutcome = Literal["ok", "failed", "rescued", "client_error", "cancelled"]
_MAX_SAMPLES = 4096
_Z = 1.96


class RequestSample(NamedTuple):
    """One finished request. `is_low_quality` is None if its response was not inspected."""

    ended_at: float
    outcome: ArmOutcome
    first_byte_s: float | None
    total_s: float
    is_low_quality: bool | None = None


@dataclass(slots=True)
class ArmSamples:
    """The requests of one arm within a window."""

    samples: list[RequestSample] = field(default_factory=list)

    @property
    def evaluated(self) -> int:
        """Requests that are evidence about the arm: without client errors and cancellations."""
        return sum(row.outcome in ("ok", "failed", "rescued") for row in self.samples)

    @property
    def bad(self) -> int:
        """Failures, and requests that the other arm had to serve."""
        return sum(row.outcome in ("failed", "rescued") for row in self.samples)

    def low_quality_counts(self) -> tuple[int, int]:
        """(low-quality responses, inspected responses)."""
        inspected = [row.is_low_quality for row in self.samples if row.is_low_quality is not None]
        return sum(inspected), len(inspected)

    def first_byte_times_s(self) -> list[float]:
        """Times to first byte, sorted."""
        return sorted(row.first_byte_s for row in self.samples if row.first_byte_s is not None)

    def total_times_s(self) -> list[float]:
        """Durations of successful requests, sorted."""
        return sorted(row.total_s for row in self.samples if row.outcome == "ok")


class ArmWindow:
    """The latest requests of both arms, a limited number of each."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples_by_arm: dict[Arm, deque[RequestSample]] = {
            "legacy": deque(maxlen=_MAX_SAMPLES),
            "new": deque(maxlen=_MAX_SAMPLES),
        }

    def record(
        self,
        arm: Arm,
        outcome: ArmOutcome,
        first_byte_s: float | None,
        total_s: float,
        is_low_quality: bool | None = None,
    ) -> None:
        """Add a finished request."""
        self._samples_by_arm[arm].append(
            RequestSample(self._clock(), outcome, first_byte_s, total_s, is_low_quality)
        )

    def recent(self, arm: Arm, seconds: float) -> ArmSamples:
        """The requests of an arm that finished within the last `seconds`."""
        since, rows = self._clock() - seconds, []
        for row in reversed(self._samples_by_arm[arm]):
            if row.ended_at < since:
                break
            rows.append(row)
        return ArmSamples(rows)

    def clear(self) -> None:
        """Drop all samples, at a transition."""
        for rows in self._samples_by_arm.values():
            rows.clear()


def wilson_interval(bad: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion; (0, 1) without observations.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if total == 0:
        return 0.0, 1.0
    p, z2 = bad / total, _Z * _Z
    middle = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The `q` quantile of sorted values by nearest rank; None if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else None
