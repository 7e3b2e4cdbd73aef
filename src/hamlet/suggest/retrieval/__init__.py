"""Retrieval by shared words and characters and, with the extra `embed`, by meaning."""

from hamlet.suggest.retrieval.bm25 import Bm25Index, Hit, without_weak_tail
from hamlet.suggest.retrieval.embedder import Embedder, Encoder, load_encoder
from hamlet.suggest.retrieval.hybrid import HybridIndex
from hamlet.suggest.retrieval.tokenizer import tokenize

__all__ = [
    "Bm25Index",
    "Embedder",
    "Encoder",
    "Hit",
    "HybridIndex",
    "load_encoder",
    "tokenize",
    "without_weak_tail",
]
