"""Tokens for Korean, Japanese and English without a dictionary."""

from __future__ import annotations

from hamlet.core.text import grams

_STOP = frozenset(
    """a an and are as at be by do does for from how i in is it me my of on or that the this to
    was what when where which who why with you your can could should would will""".split()  # noqa: SIM905
)
_ENDINGS = ("ingly", "edly", "ings", "ing", "ies", "ed", "es", "s", "ly")


def tokens(text: str) -> list[str]:
    """Stemmed words of the Latin alphabet, character bigrams of the rest."""
    return [_stem(gram) for gram in grams(text) if gram not in _STOP]


def _stem(word: str) -> str:
    if not word.isascii() or len(word) < 4:
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    # "vaccine" and "vaccin(es)" are one word.
    return word.removesuffix("e") if len(word) > 4 else word
