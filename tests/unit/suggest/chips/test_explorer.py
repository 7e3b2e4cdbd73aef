"""Exploring chips in the last slot."""

import random

from hamlet.suggest import Explorer
from hamlet.suggest.model import Chip


def make_chip(name: str) -> Chip:
    return Chip(name, name, name, "fill", "howto", "spark", "ko", 1)


def test_explorer_fills_only_the_last_slot_and_reports_propensity() -> None:
    explorer = Explorer(random.Random(7))
    chips = [make_chip(name) for name in "abcdefg"]
    explorer.set_counts({"f": (900.0, 1000.0), "d": (1.0, 1000.0)})
    wins = dict.fromkeys("defg", 0)
    for _ in range(200):
        chosen, propensity = explorer.fill_last_slot(chips, 4)
        assert [chip.id for chip in chosen[:3]] == ["a", "b", "c"]
        assert chosen[3].position == 4
        assert 0 < propensity[chosen[3].id] <= 1
        wins[chosen[3].id] += 1
    assert wins["f"] > 150
    assert wins["e"] + wins["g"] > 0, "chips that were never shown are explored"
    assert wins["d"] < 10
    assert explorer.fill_last_slot(chips[:4], 4) == (chips[:4], {})
