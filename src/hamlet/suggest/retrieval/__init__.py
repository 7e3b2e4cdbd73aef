"""Finding texts by the words, characters and (with the extra `embed`) the meaning they share."""

from hamlet.suggest.retrieval.dense import Embedder, Encoder, load_encoder
from hamlet.suggest.retrieval.hybrid import HybridIndex
from hamlet.suggest.retrieval.index import Hit, Index
from hamlet.suggest.retrieval.tokens import tokens

__all__ = ["Embedder", "Encoder", "Hit", "HybridIndex", "Index", "load_encoder", "tokens"]
