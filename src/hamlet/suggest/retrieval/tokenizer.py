"""Tokens for Korean, Japanese and English without a dictionary."""

from __future__ import annotations

from functools import lru_cache

import Stemmer

from hamlet.core.text import tokenize as split_grams

_STOP_WORDS = frozenset(
    """a an and are as at be by do does for from how i in is it me my of on or that the this to
    was what when where which who why with you your can could should would will""".split()  # noqa: SIM905
)
# A stemmer is not thread-safe; the index is searched in the event loop only.
_ENGLISH_STEMMER = Stemmer.Stemmer("english")


def tokenize(text: str) -> list[str]:
    """Stemmed Latin words, and character bigrams of other scripts. No stop words."""
    return [_stem(g) if g.isascii() else g for g in split_grams(text) if g not in _STOP_WORDS]


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    """The stem of a Latin word by the Porter2 algorithm (Snowball's "english")."""
    stem: str = _ENGLISH_STEMMER.stemWord(word)
    return stem
