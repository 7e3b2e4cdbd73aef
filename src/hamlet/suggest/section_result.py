"""What a half came to, and what went less well than it could have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hamlet.suggest.model import CacheState, Chips, Degradation, Links, Status

H = TypeVar("H", Links, Chips)


@dataclass(frozen=True, slots=True)
class SectionResult(Generic[H]):
    """A half, or None if it was not asked for. `propensity` is by item, 1 where it is not."""

    section: H | None = None
    degradations: tuple[Degradation, ...] = ()
    cache: CacheState = CacheState()
    propensity: Mapping[str, float] = field(default_factory=dict)


def section_status(count: int, limit: int) -> Status:
    """Whether there is all that was asked for."""
    return "ok" if count == limit else "partial" if count else "empty"
