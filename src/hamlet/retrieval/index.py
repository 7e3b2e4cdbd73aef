"""A BM25 index over short documents, on bm25s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np

from hamlet.retrieval.tokens import tokens


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
        self._known = {token for bag in bags for token in bag}
        self._bm25 = bm25s.BM25(method="lucene")
        self._bm25.index(bags, show_progress=False)
        self._idf = self._best_scores(bags)

    def _best_scores(self, bags: list[list[str]]) -> dict[str, float]:
        """For each token, the score of the document in which it weighs most."""
        vocabulary = self._bm25.vocab_dict
        data, starts = self._bm25.scores["data"], self._bm25.scores["indptr"]
        return {
            token: float(data[starts[i] : starts[i + 1]].max(initial=0.0))
            for token, i in vocabulary.items()
            if token in self._known
        }

    def search(self, text: str, most: int, at_least: float = 0.0) -> list[Hit]:
        """The best documents, best first, with at least that share of a perfect match."""
        wanted = list(dict.fromkeys(tokens(text)))
        known = [token for token in wanted if token in self._known]
        if not known:
            return []
        scores = self._bm25.get_scores(known)
        # What the text asks for and nobody has still counts: a match of half a question is half.
        missing = len(wanted) - len(known)
        perfect = sum(self._idf[token] for token in known)
        perfect += missing * (perfect / len(known)) * 0.5
        best = np.argsort(-scores, kind="stable")[:most]
        hits = [Hit(int(i), float(scores[i]) / perfect) for i in best if scores[i] > 0]
        return [hit for hit in hits if hit.share >= at_least]
