"""A BM25 index over short documents, on bm25s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bm25s
import numpy as np

from hamlet.retrieval.synonyms import translated
from hamlet.retrieval.tokens import tokens

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
        bags = [
            [token for text, weight in fields for token in tokens(text) * weight]
            for fields in documents
        ]
        self._bm25 = bm25s.BM25(method="lucene", k1=_K1, b=_B)
        self._bm25.index(bags, show_progress=False)
        self._best = self._best_scores({token for bag in bags for token in bag})

    def _best_scores(self, known: set[str]) -> dict[str, float]:
        """For each token, the score of the document in which it weighs most."""
        vocabulary = self._bm25.vocab_dict
        data, starts = self._bm25.scores["data"], self._bm25.scores["indptr"]
        return {
            token: float(data[starts[i] : starts[i + 1]].max(initial=0.0))
            for token, i in vocabulary.items()
            if token in known
        }

    def search(self, text: str, most: int, at_least: float = 0.0) -> list[Hit]:
        """The best documents, best first, with at least that share of a perfect match."""
        asked = tokens(text)
        wanted = self._known_of(asked)
        other = self._known_of(tokens(" ".join(translated(text))), besides=wanted)
        if not wanted and not other:
            return []
        scores = _TRANSLATED * self._scores(other)
        scores += self._scores(wanted)
        best = np.argsort(-scores, kind="stable")[:most]
        perfect = self._perfect(asked, wanted, other)
        ranked = zip(best.tolist(), scores[best].tolist(), strict=True)
        hits = [Hit(i, score / perfect) for i, score in ranked if score > 0]
        return [hit for hit in hits if hit.share >= at_least]

    def _known_of(self, found: list[str], besides: Sequence[str] = ()) -> list[str]:
        return [t for t in dict.fromkeys(found) if t in self._best and t not in besides]

    def _scores(self, known: list[str]) -> Any:
        return self._bm25.get_scores(known) if known else 0.0

    def _perfect(self, asked: list[str], wanted: list[str], other: list[str]) -> float:
        """The score of a document that has everything.

        What the text asks for and nobody has still counts: a match of half a question is half.
        """
        perfect = sum(self._best[token] for token in wanted)
        if not wanted:
            return max(1.0, _TRANSLATED * sum(self._best[token] for token in other))
        missing = len(set(asked)) - len(wanted)
        return perfect * (1 + _MISSING * missing / len(wanted))
