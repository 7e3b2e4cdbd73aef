"""Finding texts by the words, characters and (with the extra `embed`) the meaning they share."""

from hamlet.retrieval.dense import Embedder, Encoder, load_encoder
from hamlet.retrieval.hybrid import HybridIndex
from hamlet.retrieval.index import Hit, Index
from hamlet.retrieval.tokens import tokens

__all__ = ["Embedder", "Encoder", "Hit", "HybridIndex", "Index", "load_encoder", "tokens"]
