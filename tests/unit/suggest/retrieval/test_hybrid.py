"""Lexical and dense retrieval together."""

import asyncio

import numpy as np
import pytest

from hamlet.suggest.content import shipped_links
from hamlet.suggest.retrieval import Embedder, HybridIndex, load_encoder
from hamlet.suggest.retrieval.embedder import _has_avx2


class FakeEncoder:
    """Two orthogonal meanings: gardens, and everything else."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def _vector(self, text: str) -> np.ndarray:
        garden = any(word in text for word in ("rose", "정원"))
        return np.array([1.0, 0.0] if garden else [0.0, 1.0], np.float32)

    def query(self, text: str) -> np.ndarray:
        self.queries.append(text)
        return self._vector(text)

    def passage(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._vector(text) for text in texts])


async def test_dense_retrieval_is_skipped_under_tight_budget() -> None:
    texts = ["정원 가꾸기", *(f"{i}번 기차 시간" for i in range(9))]
    index = HybridIndex([[(text, 1)] for text in texts], texts)
    assert await index.search("roses", 5) == []
    encoder = FakeEncoder()
    embedder = Embedder(encoder)
    await asyncio.to_thread(index.embed, embedder)
    assert [hit.position for hit in await index.search("roses", 5)] == [0]
    assert await index.search("rosebush", 5, within_s=0.05) == []
    await index.search("roses", 5, within_s=0.05)
    assert encoder.queries == ["roses"], "vectors are cached"
    embedder.close()


@pytest.mark.slow
@pytest.mark.skipif(not _has_avx2(), reason="the engine needs AVX2")
async def test_encoder_of_the_extra_is_multilingual() -> None:
    encoder, why_not = load_encoder()
    assert encoder is not None, why_not
    texts = ["정원에서 장미 키우기", "地下鉄の終電"]
    texts += [f"{row.title['ko']} {row.text['ko']}" for row in shipped_links()[20:60]]
    index = HybridIndex([[(text, 1)] for text in texts], texts)
    embedder = Embedder(encoder)
    await asyncio.to_thread(index.embed, embedder)

    async def found(query: str) -> list[int]:
        # On a busy machine a vector may be late; it is cached for the next search.
        while not (hits := await index.search(query, 1)):
            await asyncio.sleep(0.01)
        return [hit.position for hit in hits]

    assert await found("how to grow roses in a garden") == [0]
    assert await found("last subway train at night") == [1]
    embedder.close()
