"""Words and meaning together: 0.8 of the vectors' cosine, 0.2 of BM25 (main-screen design, C3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hamlet.suggest.retrieval.bm25 import Bm25Index, Hit
from hamlet.suggest.retrieval.embedder import Embedder

Fields = Sequence[tuple[str, int]]
_DENSE_WEIGHT, _MIN_LEXICAL_RELEVANCE = 0.8, 1e-9


class HybridIndex:
    """A lexical index at once, and one with vectors as soon as those are made."""

    def __init__(self, documents: Iterable[Fields], passages: Sequence[str] = ()) -> None:
        """`passages` is the text of each document for its vector."""
        self._lexical = Bm25Index(documents)
        self._passages = passages
        self._embedder: Embedder | None = None
        self._vectors: Any = None

    def embed(self, embedder: Embedder) -> None:
        """Make the vectors; takes a while, and may be called from a thread."""
        vectors = embedder.embed_passages(self._passages)
        self._embedder, self._vectors = embedder, vectors

    async def search(
        self, text: str, limit: int, min_relevance: float = 0.0, within_s: float = 10.0
    ) -> list[Hit]:
        """The best documents, best first: near in words or near in meaning.

        With `at_least` below 0 there is no gate.
        """
        if self._embedder is None:
            return self._lexical.search(text, limit, min_relevance)
        vector = await self._embedder.embed_query(text, within_s)
        if vector is None:
            return self._lexical.search(text, limit, min_relevance)
        return fuse(self._lexical, self._vectors @ vector, text, limit, min_relevance)


def fuse(index: Bm25Index, cosines: Any, text: str, limit: int, min_relevance: float) -> list[Hit]:
    """The best by both, of those that one of the two stands up for."""
    # Here, so that only who has vectors loads it.
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
    """How near a document must be not to be there by chance.

    e5 puts all texts between 0.7 and 1, each query elsewhere, so no fixed cosine will do. Of N
    values of noise none passes mean + deviation * sqrt(2 ln N) (the universal threshold of Donoho
    and Johnstone, Biometrika 81, 1994).
    """
    deviations = math.sqrt(2 * math.log(max(2, len(cosines))))
    return float(cosines.mean() + cosines.std() * deviations)


def _min_max_scale(values: Any) -> Any:
    low, high = values.min(), values.max()
    return (values - low) / ((high - low) or 1)
