"""The result of one section, and what was degraded about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hamlet.suggest.model import CacheState, Chips, Degradation, Links, Status

SectionT = TypeVar("SectionT", Links, Chips)


@dataclass(frozen=True, slots=True)
class SectionResult(Generic[SectionT]):
    """A section, or None if it was not requested.

    `propensity` is the probability of an item of being shown, by item id; 1 where it has no entry.
    """

    section: SectionT | None = None
    degradations: tuple[Degradation, ...] = ()
    cache: CacheState = CacheState()
    propensity: Mapping[str, float] = field(default_factory=dict)


def section_status(count: int, limit: int) -> Status:
    """Whether a section has as many items as were requested, fewer, or none."""
    return "ok" if count == limit else "partial" if count else "empty"
