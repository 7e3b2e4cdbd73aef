"""Finding texts by the words and characters they share: bigrams of characters under BM25."""

from hamlet.retrieval.index import Hit, Index
from hamlet.retrieval.tokens import tokens

__all__ = ["Hit", "Index", "tokens"]
