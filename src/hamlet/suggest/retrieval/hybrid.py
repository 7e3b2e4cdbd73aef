"""Lexical and dense retrieval, fused: 0.8 of the cosine and 0.2 of BM25, each scaled to 0 to 1.

A convex combination of scaled scores: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for
Hybrid Retrieval", https://arxiv.org/abs/2210.11934. See docs/adr/0010-when-a-vector-is-near.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hamlet.suggest.retrieval.bm25 import Bm25Index, Hit
from hamlet.suggest.retrieval.embedder import Embedder

Fields = Sequence[tuple[str, int]]
_DENSE_WEIGHT, _MIN_LEXICAL_RELEVANCE = 0.8, 1e-9


class HybridIndex:
    """A lexical index, which uses vectors as well once `embed` has computed them."""

    def __init__(self, documents: Iterable[Fields], passages: Sequence[str] = ()) -> None:
        """`passages` has the text of each document that its vector is computed from."""
        self._lexical = Bm25Index(documents)
        self._passages = passages
        self._embedder: Embedder | None = None
        self._vectors: Any = None

    def embed(self, embedder: Embedder) -> None:
        """Compute the vectors. Blocks for seconds; may be called from a thread."""
        vectors = embedder.embed_passages(self._passages)
        self._embedder, self._vectors = embedder, vectors

    async def search(
        self, text: str, limit: int, min_relevance: float = 0.0, within_s: float = 10.0
    ) -> list[Hit]:
        """Up to `limit` documents, best first, that are near by words or by meaning.

        `within_s` bounds the wait for the query's vector, in seconds. A negative `min_relevance`
        admits every document.
        """
        if self._embedder is None:
            return self._lexical.search(text, limit, min_relevance)
        vector = await self._embedder.embed_query(text, within_s)
        if vector is None:
            return self._lexical.search(text, limit, min_relevance)
        return fuse(self._lexical, self._vectors @ vector, text, limit, min_relevance)


def fuse(index: Bm25Index, cosines: Any, text: str, limit: int, min_relevance: float) -> list[Hit]:
    """The best by the fused score, of the documents that at least one of the two finds relevant."""
    # Imported here, so that processes without an embedder do not load it.
    import numpy as np

    lexical = np.zeros(len(cosines))
    for hit in index.search(text, len(cosines)):
        lexical[hit.position] = hit.relevance
    combined = _DENSE_WEIGHT * _min_max_scale(cosines) + (1 - _DENSE_WEIGHT) * _min_max_scale(
        lexical
    )
    is_outstanding = cosines >= _noise_threshold(cosines)
    best = np.argsort(-combined, kind="stable")[:limit]
    return [
        Hit(int(i), float(combined[i]))
        for i in best
        if is_outstanding[i]
        or lexical[i] >= (max(min_relevance, _MIN_LEXICAL_RELEVANCE) if min_relevance >= 0 else 0)
    ]


def _noise_threshold(cosines: Any) -> float:
    """The cosine above which a document is not near by chance.

    The cosines of e5 lie between 0.7 and 1, at another level for each query, so a fixed threshold
    does not work. N values of noise stay below mean + deviation * sqrt(2 ln N): the universal
    threshold of Donoho and Johnstone, Biometrika 81, 1994.
    """
    deviations = math.sqrt(2 * math.log(max(2, len(cosines))))
    return float(cosines.mean() + cosines.std() * deviations)


def _min_max_scale(values: Any) -> Any:
    low, high = values.min(), values.max()
    return (values - low) / ((high - low) or 1)
