"""Exploration of chips in one slot, by Thompson sampling over clicks and impressions.

Chapelle and Li, "An empirical evaluation of Thompson sampling", NIPS 2011.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hamlet.suggest.model import Chip

_PROPENSITY_DRAWS = 50


class Explorer:
    """Draws the chip of the last slot from the candidates for it."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._counts: Mapping[str, tuple[float, float]] = {}

    def set_counts(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """Set the clicks and impressions by item id, both decayed by age."""
        self._counts = counts

    def fill_last_slot(
        self, chips: Sequence[Chip], limit: int
    ) -> tuple[list[Chip], Mapping[str, float]]:
        """The first `limit - 1` chips and one drawn from the rest, and its propensity by id."""
        fixed, candidates = list(chips[: limit - 1]), list(chips[limit - 1 :])
        if len(candidates) < 2:
            return [*fixed, *candidates], {}
        wins = Counter(self._draw(candidates) for _ in range(_PROPENSITY_DRAWS))
        winner = self._draw(candidates)
        # Counts its own draw as well, so that the propensity is never 0.
        propensity = (wins[winner] + 1) / (_PROPENSITY_DRAWS + 1)
        chosen = replace(candidates[winner], position=limit)
        return [*fixed, chosen], {chosen.id: round(propensity, 4)}

    def _draw(self, chips: Sequence[Chip]) -> int:
        values = [self._sample(chip.id) for chip in chips]
        return values.index(max(values))

    def _sample(self, item: str) -> float:
        clicks, impressions = self._counts.get(item, (0.0, 0.0))
        return self._rng.betavariate(1 + clicks, 1 + max(0.0, impressions - clicks))
