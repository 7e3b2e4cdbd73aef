"""What happened on both arms of a feature lately. Monotonic seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hamlet.migration.rollout_document import Arm

ArmOutcome = Literal["ok", "failed", "rescued", "client_error", "cancelled"]
_MAX_SAMPLES = 4096
_Z = 1.96


class RequestSample(NamedTuple):
    """One request: when it ended, how, and how long it took. `poor`: empty, cut or refused."""

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
        """Those that say something of the arm: not what clients did wrong or broke off."""
        return sum(row.outcome in ("ok", "failed", "rescued") for row in self.samples)

    @property
    def bad(self) -> int:
        """Failures, and requests that the other arm had to answer."""
        return sum(row.outcome in ("failed", "rescued") for row in self.samples)

    def low_quality_counts(self) -> tuple[int, int]:
        """How many of the inspected answers were empty, cut or refusals, and how many inspected."""
        inspected = [row.is_low_quality for row in self.samples if row.is_low_quality is not None]
        return sum(inspected), len(inspected)

    def first_byte_times_s(self) -> list[float]:
        """Times to first byte, sorted."""
        return sorted(row.first_byte_s for row in self.samples if row.first_byte_s is not None)

    def total_times_s(self) -> list[float]:
        """Whole times of good answers, sorted."""
        return sorted(row.total_s for row in self.samples if row.outcome == "ok")


class ArmWindow:
    """The latest requests of both arms; so many of each at most."""

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
        """Note a request that has ended."""
        self._samples_by_arm[arm].append(
            RequestSample(self._clock(), outcome, first_byte_s, total_s, is_low_quality)
        )

    def recent(self, arm: Arm, seconds: float) -> ArmSamples:
        """The requests that ended within so many seconds."""
        since, rows = self._clock() - seconds, []
        for row in reversed(self._samples_by_arm[arm]):
            if row.ended_at < since:
                break
            rows.append(row)
        return ArmSamples(rows)

    def clear(self) -> None:
        """Forget all: what comes from now on happens in another stage."""
        for rows in self._samples_by_arm.values():
            rows.clear()


def wilson_interval(bad: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a rate; (0, 1) if nothing was seen.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if total == 0:
        return 0.0, 1.0
    p, z2 = bad / total, _Z * _Z
    middle = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile(ordered: Iterable[float], q: float) -> float | None:
    """A quantile of sorted values, None if there are none."""
    values = list(ordered)
    return values[min(len(values) - 1, int(len(values) * q))] if values else None
