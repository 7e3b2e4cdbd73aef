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
# Combining marks but those of kana, which make another letter.
_ACCENT = re.compile(r"[\u0300-\u036f]")
_UNSPACED = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3]")
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
    """Case-folded, full-width made half, accents of alphabets off: what people type alike."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENT.sub("", apart)).casefold()


def words(text: str) -> list[str]:
    """Runs of letters and digits, normalised."""
    return _WORD.findall(normal(text))


def grams(text: str) -> list[str]:
    """Words of alphabets, and overlapping pairs of characters of everything else.

    Korean particles and Japanese without spaces defeat whole words; bigrams carry both.
    """
    found: list[str] = []
    for word in words(text):
        if len(word) == 1 or not _UNSPACED.search(word):
            found.append(word)
        else:
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, stripped."""
    return [s for match in _SENTENCE.finditer(text) if (s := match.group().strip())]
