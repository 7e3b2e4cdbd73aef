"""Embeddings by feature hashing: texts that share words and characters are close.

Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009),
https://arxiv.org/abs/0902.2206
"""

from __future__ import annotations

import math
import zlib

from hamlet.core.text import normalize, tokenize

DIMENSIONS = 256


def hash_embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector, or all zeros for a text without letters."""
    vector = [0.0] * dimensions
    for feature in _features(text):
        code = zlib.crc32(feature.encode())
        vector[code % dimensions] += 1.0 if code & 0x8000_0000 else -1.0
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length else vector


def _features(text: str) -> list[str]:
    compact = "".join(normalize(text).split())
    trigrams = [compact[i : i + 3] for i in range(len(compact) - 2)]
    return tokenize(text) + trigrams
