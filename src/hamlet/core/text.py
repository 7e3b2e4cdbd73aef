"""What can be said of a text in Korean, Japanese or English without a dictionary."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["ko", "en", "ja"]

_HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


def language(text: str) -> Language | None:
    """The language that the script of `text` speaks for; None if it has no letters."""
    hangul, kana = len(_HANGUL.findall(text)), len(_KANA.findall(text))
    if hangul and hangul >= kana:
        return "ko"
    if kana or _HAN.search(text):
        return "ja"
    return "en" if _LATIN.search(text) else None


def normal(text: str) -> str:
    """Compatibility-normalised and case-folded, so that full-width and capitals match."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """Runs of letters and digits, normalised."""
    return _WORD.findall(normal(text))


def grams(text: str) -> list[str]:
    """Words of alphabets, and overlapping pairs of characters of everything else.

    Korean particles and Japanese without spaces defeat whole words; bigrams carry both.
    """
    found: list[str] = []
    for word in words(text):
        if word.isascii() or len(word) == 1:
            found.append(word)
        else:
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, stripped."""
    return [s for match in _SENTENCE.finditer(text) if (s := match.group().strip())]
