"""Text analysis for Korean, Japanese and English without a dictionary."""

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
# Combining marks except those of kana, which make a different letter.
_ACCENT = re.compile(r"[\u0300-\u036f]")
_UNSPACED = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3]")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


def detect_language(text: str) -> Language | None:
    """The language that the script of `text` suggests; None if it has no letters."""
    hangul, kana = len(_HANGUL.findall(text)), len(_KANA.findall(text))
    if hangul and hangul >= kana:
        return "ko"
    if kana or _HAN.search(text):
        return "ja"
    return "en" if _LATIN.search(text) else None


def normalize(text: str) -> str:
    """Case-folded, half-width and without accents, so that spelling variants compare equal."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENT.sub("", decomposed)).casefold()


def split_words(text: str) -> list[str]:
    """Runs of letters and digits, normalised."""
    return _WORD.findall(normalize(text))


def tokenize(text: str) -> list[str]:
    """Words of alphabets, and character bigrams of everything else.

    Words do not work for Korean with its particles and for Japanese without spaces.
    """
    found: list[str] = []
    for word in split_words(text):
        if len(word) == 1 or not _UNSPACED.search(word):
            found.append(word)
        else:
            found += [word[i : i + 2] for i in range(len(word) - 1)]
    return found


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, stripped."""
    return [s for match in _SENTENCE.finditer(text) if (s := match.group().strip())]


_PARTICLE = re.compile(r"(\S)\{(\w+)/(\w+)\}")
_LATIN_VOWELS = "aeiouy"


def resolve_particles(text: str) -> str:
    """Korean with each `{은/는}` resolved to the form that fits the preceding character.

    A syllable with a final consonant takes the first form; before 로 a final ㄹ counts as none.
    Latin letters are judged by spelling, digits by how they are read in Korean.
    """
    return _PARTICLE.sub(lambda m: m[1] + _choose_particle(m[1], m[2], m[3]), text)


def _choose_particle(last: str, closed: str, open_: str) -> str:
    final = _final_consonant(last)
    if final == "ㄹ" and open_ == "로":
        return open_
    return closed if final else open_


def _final_consonant(last: str) -> str:
    """The final consonant of a character as read: "", "ㄹ", or "x" for any other."""
    code = ord(last) - 0xAC00
    if 0 <= code < 11172:
        return {0: "", 8: "ㄹ"}.get(code % 28, "x")
    if last in "0136":
        return "x"
    if last in "78":
        return "ㄹ"
    if last.isascii() and last.isalpha():
        return "" if last.lower() in _LATIN_VOWELS else "ㄹ" if last in "lLrR" else "x"
    return ""
