"""BM25 by Lucene's formula, over a handful of texts."""

import math

import pytest

from hamlet.suggest.retrieval import Bm25Index, Hit, without_weak_tail

DOCUMENTS = [
    [("garden garden roses", 1)],
    [("garden chairs", 1)],
    [("roses", 1), ("rain", 2)],
]


def test_relevance_follows_the_formula() -> None:
    # k1 is 0.9 and b is 0.4; the lengths are 3, 2 and 3 tokens, 8/3 on average.
    def weight(times: int, length: int) -> float:
        return times / (times + 0.9 * (0.6 + 0.4 * length / (8 / 3)))

    rarity = math.log(1 + 1.5 / 2.5)
    roses = [weight(1, 3), weight(1, 3)]
    garden = [weight(2, 3), weight(1, 2)]
    perfect = rarity * (max(garden) + max(roses))
    found = Bm25Index(DOCUMENTS).search("garden roses", 9)
    shares = [rarity * (garden[0] + roses[0]), rarity * garden[1], rarity * roses[1]]
    assert [hit.position for hit in found] == [0, 1, 2]
    assert [hit.relevance for hit in found] == pytest.approx([share / perfect for share in shares])


@pytest.mark.parametrize(
    ("text", "positions"),
    [("chairs roses", [1, 2, 0]), ("rain", [2]), ("snow", []), ("", []), ("the", [])],
)
def test_rare_tokens_weigh_more_and_unknown_ones_match_nothing(text, positions) -> None:
    found = [hit.position for hit in Bm25Index(DOCUMENTS).search(text, 9)]
    assert sorted(found) == sorted(positions)
    assert found[:1] == positions[:1]


def test_limit_and_minimum_relevance() -> None:
    index = Bm25Index(DOCUMENTS)
    assert len(index.search("garden roses", 1)) == 1
    assert all(hit.relevance >= 0.5 for hit in index.search("garden roses", 9, 0.5))
    assert len(index.search("garden roses", 9, 0.5)) < 3


@pytest.mark.parametrize("documents", [[], [[]], [[("", 1)], [("the", 2)]]])
def test_empty_index_finds_nothing(documents) -> None:
    assert Bm25Index(documents).search("garden", 9) == []


def test_tail_is_cut_at_a_share_of_the_best() -> None:
    hits = [Hit(3, 0.5), Hit(1, 0.2), Hit(2, 0.19)]
    assert without_weak_tail(hits) == hits[:2]
    assert without_weak_tail([]) == []
