"""What happened on both arms of a feature lately. Monotonic seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hamlet.migration.model import Arm

Outcome = Literal["ok", "failed", "rescued", "client_error", "cancelled"]
_KEPT = 4096
_Z = 1.96


class Seen(NamedTuple):
    """One request: when it ended, how, and how long it took. `poor`: empty, cut or refused."""

    at: float
    outcome: Outcome
    first_s: float | None
    total_s: float
    poor: bool | None = None


@dataclass(slots=True)
class Span:
    """The requests of one arm within a window."""

    rows: list[Seen] = field(default_factory=list)

    @property
    def judged(self) -> int:
        """Those that say something of the arm: not what clients did wrong or broke off."""
        return sum(row.outcome in ("ok", "failed", "rescued") for row in self.rows)

    @property
    def bad(self) -> int:
        """Failures, and requests that the other arm had to answer."""
        return sum(row.outcome in ("failed", "rescued") for row in self.rows)

    def poor(self) -> tuple[int, int]:
        """How many of the inspected answers were empty, cut or refusals, and how many inspected."""
        inspected = [row.poor for row in self.rows if row.poor is not None]
        return sum(inspected), len(inspected)

    def first_s(self) -> list[float]:
        """Times to first byte, sorted."""
        return sorted(row.first_s for row in self.rows if row.first_s is not None)

    def total_s(self) -> list[float]:
        """Whole times of good answers, sorted."""
        return sorted(row.total_s for row in self.rows if row.outcome == "ok")


class Window:
    """The latest requests of both arms; so many of each at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arms: dict[Arm, deque[Seen]] = {
            "legacy": deque(maxlen=_KEPT),
            "new": deque(maxlen=_KEPT),
        }

    def add(
        self,
        arm: Arm,
        outcome: Outcome,
        first_s: float | None,
        total_s: float,
        poor: bool | None = None,
    ) -> None:
        """Note a request that has ended."""
        self._arms[arm].append(Seen(self._clock(), outcome, first_s, total_s, poor))

    def last(self, arm: Arm, seconds: float) -> Span:
        """The requests that ended within so many seconds."""
        since, rows = self._clock() - seconds, []
        for row in reversed(self._arms[arm]):
            if row.at < since:
                break
            rows.append(row)
        return Span(rows)

    def clear(self) -> None:
        """Forget all: what comes from now on happens in another stage."""
        for rows in self._arms.values():
            rows.clear()


def wilson(bad: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a rate; (0, 1) if nothing was seen.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if of == 0:
        return 0.0, 1.0
    p, z2 = bad / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile(ordered: Iterable[float], q: float) -> float | None:
    """A quantile of sorted values, None if there are none."""
    values = list(ordered)
    return values[min(len(values) - 1, int(len(values) * q))] if values else None
