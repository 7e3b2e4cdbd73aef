"""Trying items out in one slot, by Thompson sampling over what users did with them.

Chapelle and Li, "An empirical evaluation of Thompson sampling", NIPS 2011.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hamlet.suggest.model import Chip

_DRAWS = 50


class Explorer:
    """Chooses the last slot among the chips that are good enough for it."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._counts: Mapping[str, tuple[float, float]] = {}

    def learn(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """Clicks and impressions by item, both weighed by how long ago they were."""
        self._counts = counts

    def last_slot(
        self, chips: Sequence[Chip], limit: int
    ) -> tuple[list[Chip], Mapping[str, float]]:
        """The first `limit - 1` as they are, then one drawn from the rest, and its chance."""
        kept, rest = list(chips[: limit - 1]), list(chips[limit - 1 :])
        if len(rest) < 2:
            return [*kept, *rest], {}
        wins = Counter(self._drawn(rest) for _ in range(_DRAWS))
        winner = self._drawn(rest)
        # Its own draw counts as well, so that no chance is ever told to be none.
        chance = (wins[winner] + 1) / (_DRAWS + 1)
        chosen = replace(rest[winner], position=limit)
        return [*kept, chosen], {chosen.id: round(chance, 4)}

    def _drawn(self, chips: Sequence[Chip]) -> int:
        values = [self._sample(chip.id) for chip in chips]
        return values.index(max(values))

    def _sample(self, item: str) -> float:
        clicks, impressions = self._counts.get(item, (0.0, 0.0))
        return self._rng.betavariate(1 + clicks, 1 + max(0.0, impressions - clicks))
