"""A BM25 index over short documents."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hamlet.suggest.retrieval.synonyms import translated
from hamlet.suggest.retrieval.tokens import tokens

# Where each constant comes from: docs/adr/0008-constants-of-retrieval.md
_K1, _B = 0.9, 0.4
_TRANSLATED, _MISSING = 1.0, 0.5


@dataclass(frozen=True, slots=True)
class Hit:
    """A document's position, and its share (0 to 1) of what a perfect match would score."""

    position: int
    share: float


class Index:
    """Immutable. Fields are weighted by repetition, which for BM25 is what a weight is."""

    def __init__(self, documents: Iterable[Sequence[tuple[str, int]]]) -> None:
        """`documents` are fields of (text, whole weight)."""
        bags = [_bag(fields) for fields in documents]
        mean = max(1, sum(bag.total() for bag in bags)) / max(1, len(bags))
        # For each token where it stands, and its share of what it could score at most there.
        self._postings: dict[str, list[tuple[int, float]]] = {}
        self._documents = len(bags)
        for position, bag in enumerate(bags):
            damping = _K1 * (1 - _B + _B * bag.total() / mean)
            # Tokens that stand there as often share one entry.
            entries = {n: (position, n / (n + damping)) for n in set(bag.values())}
            for token, times in bag.items():
                self._postings.setdefault(token, []).append(entries[times])

    def search(self, text: str, most: int, at_least: float = 0.0) -> list[Hit]:
        """The best documents, best first, with at least that share of a perfect match."""
        asked = tokens(text)
        wanted = self._known_of(asked)
        other = self._known_of(tokens(" ".join(translated(text))), besides=wanted)
        scores: defaultdict[int, float] = defaultdict(float)
        for known, worth in ((other, _TRANSLATED), (wanted, 1.0)):
            for token in known:
                rarity = worth * self._rarity(token)
                for position, share in self._postings[token]:
                    scores[position] += rarity * share
        best = sorted(scores.items(), key=lambda row: (-row[1], row[0]))[:most]
        perfect = self._perfect(asked, wanted, other)
        hits = [Hit(position, score / perfect) for position, score in best]
        return [hit for hit in hits if hit.share >= at_least]

    def _known_of(self, found: list[str], besides: Sequence[str] = ()) -> list[str]:
        return [t for t in dict.fromkeys(found) if t in self._postings and t not in besides]

    def _rarity(self, token: str) -> float:
        """By Lucene's formula, which is never below zero."""
        having = len(self._postings[token])
        return math.log(1 + (self._documents - having + 0.5) / (having + 0.5))

    def _best(self, token: str) -> float:
        """The score of the document in which it weighs most."""
        return self._rarity(token) * max(share for _, share in self._postings[token])

    def _perfect(self, asked: list[str], wanted: list[str], other: list[str]) -> float:
        """The score of a document that has everything.

        What the text asks for and nobody has still counts: a match of half a question is half.
        """
        perfect = sum(self._best(token) for token in wanted)
        if not wanted:
            return max(1.0, _TRANSLATED * sum(self._best(token) for token in other))
        missing = len(set(asked)) - len(wanted)
        return perfect * (1 + _MISSING * missing / len(wanted))


def _bag(fields: Sequence[tuple[str, int]]) -> Counter[str]:
    """How often each token stands in a document."""
    bag: Counter[str] = Counter()
    for text, weight in fields:
        for token in tokens(text):
            bag[token] += weight
    return bag
