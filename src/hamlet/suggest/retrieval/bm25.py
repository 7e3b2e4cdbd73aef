"""A BM25 index over short documents.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hamlet.suggest.retrieval.synonyms import translations
from hamlet.suggest.retrieval.tokenizer import tokenize

# Where each constant comes from: docs/adr/0008-constants-of-retrieval.md
_K1, _B = 0.9, 0.4
_TRANSLATED_WEIGHT, _MISSING_WEIGHT = 1.0, 0.5
_TAIL_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Hit:
    """A document's position, and its `relevance`: the share (0 to 1) of a perfect match's score."""

    position: int
    relevance: float


def without_weak_tail(hits: Sequence[Hit]) -> Sequence[Hit]:
    """The hits, which are sorted, that have at least 0.4 of the best one's relevance.

    A weak hit is noise where there is a strong one.
    """
    if not hits:
        return hits
    least = hits[0].relevance * _TAIL_SHARE
    return [hit for hit in hits if hit.relevance >= least]


class Bm25Index:
    """Immutable. A field's weight is how often its tokens count."""

    def __init__(self, documents: Iterable[Sequence[tuple[str, int]]]) -> None:
        """Each document is a sequence of fields: (text, integer weight)."""
        bags = [_bag(fields) for fields in documents]
        mean = max(1, sum(bag.total() for bag in bags)) / max(1, len(bags))
        # For each token its documents, and in each the share of the most it could score.
        self._postings: dict[str, list[tuple[int, float]]] = {}
        self._document_count = len(bags)
        for position, bag in enumerate(bags):
            damping = _K1 * (1 - _B + _B * bag.total() / mean)
            # Tokens that are equally frequent in a document share one tuple.
            entries = {n: (position, n / (n + damping)) for n in set(bag.values())}
            for token, times in bag.items():
                self._postings.setdefault(token, []).append(entries[times])

    def search(self, text: str, limit: int, min_relevance: float = 0.0) -> list[Hit]:
        """Up to `limit` documents, best first, with a relevance of `min_relevance` or more."""
        query_tokens = tokenize(text)
        query_terms = self._indexed_terms(query_tokens)
        translated_terms = self._indexed_terms(
            tokenize(" ".join(translations(text))), excluded=query_terms
        )
        scores: defaultdict[int, float] = defaultdict(float)
        for terms, weight in ((translated_terms, _TRANSLATED_WEIGHT), (query_terms, 1.0)):
            for token in terms:
                idf = weight * self._idf(token)
                for position, share in self._postings[token]:
                    scores[position] += idf * share
        best = sorted(scores.items(), key=lambda row: (-row[1], row[0]))[:limit]
        perfect = self._perfect_score(query_tokens, query_terms, translated_terms)
        hits = [Hit(position, score / perfect) for position, score in best]
        return [hit for hit in hits if hit.relevance >= min_relevance]

    def _indexed_terms(self, candidates: list[str], excluded: Sequence[str] = ()) -> list[str]:
        return [t for t in dict.fromkeys(candidates) if t in self._postings and t not in excluded]

    def _idf(self, token: str) -> float:
        """The inverse document frequency by Lucene's formula, which is never negative."""
        document_frequency = len(self._postings[token])
        return math.log(
            1 + (self._document_count - document_frequency + 0.5) / (document_frequency + 0.5)
        )

    def _max_score(self, token: str) -> float:
        """The token's score in the document in which it is highest."""
        return self._idf(token) * max(share for _, share in self._postings[token])

    def _perfect_score(
        self, query_tokens: list[str], query_terms: list[str], translated_terms: list[str]
    ) -> float:
        """The score of a document that contains every term of the query.

        Terms that no document contains count as well, so that a match of half a query scores half.
        """
        perfect = sum(self._max_score(token) for token in query_terms)
        if not query_terms:
            return max(
                1.0, _TRANSLATED_WEIGHT * sum(self._max_score(token) for token in translated_terms)
            )
        missing = len(set(query_tokens)) - len(query_terms)
        return perfect * (1 + _MISSING_WEIGHT * missing / len(query_terms))


def _bag(fields: Sequence[tuple[str, int]]) -> Counter[str]:
    """The weighted frequency of each token of a document."""
    bag: Counter[str] = Counter()
    for text, weight in fields:
        for token in tokenize(text):
            bag[token] += weight
    return bag
