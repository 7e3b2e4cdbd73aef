"""Which chip labels may be shown and which prompts may be sent: pure functions, for every tier.

The first check that fails gives the reason: checks of form come first, since they are the cheapest,
then the length, the content, and the script of the language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from hamlet.core.text import Language, split_words
from hamlet.suggest.safety import INJECTION, PII

_PLACEHOLDER = re.compile(
    r"(?i)^(?:question|chip|suggestion|option|질문|質問|候補)\s*\d+\W*$|^\W*$|lorem ipsum"
)
_SLOT = re.compile(r"\{[^}]*\}|\[\w+\]|<\w+>|\$\{")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_MARKDOWN = re.compile(r"\*\*|__|`|^#+\s|\]\(|^\s*(?:[-*•]|\d+[.)])\s")
_QUOTED = re.compile(r"^[\"'“‘「『].*[\"'”’」』]$")
_URL = re.compile(r"(?i)https?:|www\.|\b[\w-]+\.(?:com|net|org|io|kr|jp|co|dev|example|ai)\b")
_MARKUP = re.compile(r"</?\w+[^>]*>|&\w+;")
_ASSISTANT_VOICE = re.compile(
    r"(?i)^(?:would you like|do you want|shall i|can i help|let me know|i can|i could|as an ai)"
    r"|(?:드릴까요|도와드|원하시나요|궁금하신가요|알려드릴)|(?:しましょうか|お手伝い|いかがですか)"
)
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_LATIN = re.compile(r"[A-Za-z]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_SKIN_TONE = re.compile(r"[\U0001f3fb-\U0001f3ff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Mc", "Cf"})
_MAX_SHORT_NAME_CHARS = 4


def label_rejection_reason(
    text: str, language: Language, max_chars: int, context: str = ""
) -> str | None:
    """Why a label must not be shown, or None. Foreign names may come from `context`."""
    text = unicodedata.normalize("NFC", text).strip()
    for name, matches in _LABEL_CHECKS:
        if matches(text):
            return name
    if visible_length(text) > max_chars:
        return "too-long"
    for name, matches in _CONTENT_CHECKS:
        if matches(text):
            return name
    return None if _is_in_script(text, language, context) else "wrong-language"


def length_if_valid(text: str, language: Language) -> int | None:
    """The length of a label that is valid in every context that allows its length, else None."""
    text = unicodedata.normalize("NFC", text).strip()
    return None if label_rejection_reason(text, language, len(text)) else visible_length(text)


def prompt_rejection_reason(prompt: str) -> str | None:
    """Why a prompt must not be sent in a user's name, or None."""
    for name, holds in (*_PROMPT_CHECKS, *_CONTENT_CHECKS[:-1]):
        if holds(prompt):
            return name
    return None


def visible_length(text: str) -> int:
    """Characters as a reader counts them: without combining marks, joiners and emoji skin tones."""
    if text.isascii():
        return len(text)
    return sum(
        1
        for c in text
        if unicodedata.category(c) not in _ZERO_WIDTH_CATEGORIES and not _SKIN_TONE.match(c)
    )


def _is_in_script(text: str, language: Language, context: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    if language == "ja":
        return bool(_KANA.search(text)) and not _HANGUL.search(text)
    if language == "en":
        latin = len(_LATIN.findall(text))
        return bool(letters) and latin / len(letters) >= 0.8
    # Latin words that are short or part of the context count as names; the rest must be Hangul.
    known = set(split_words(context))
    names = [
        w
        for w in _LATIN_WORD.findall(text)
        if len(w) <= _MAX_SHORT_NAME_CHARS or w.lower() in known
    ]
    hangul, others = len(_HANGUL.findall(text)), len(letters) - sum(map(len, names))
    return bool(hangul) and hangul / others >= 0.5


_Check = tuple[str, Callable[[str], object]]
_LABEL_CHECKS: tuple[_Check, ...] = (
    ("empty", lambda text: not text),
    ("newline", lambda text: "\n" in text or "\r" in text),
    ("hidden", _INVISIBLE.search),
    ("control", _CONTROL.search),
    ("placeholder", _PLACEHOLDER.search),
    ("html", _MARKUP.search),
    ("unfilled-slot", _SLOT.search),
    ("markdown", _MARKDOWN.search),
    ("quoted", _QUOTED.search),
)
_PROMPT_CHECKS: tuple[_Check, ...] = (
    ("hidden", _INVISIBLE.search),
    ("html", _MARKUP.search),
    ("unfilled-slot", _SLOT.search),
)
_CONTENT_CHECKS: tuple[_Check, ...] = (
    ("pii", PII.search),
    ("url", _URL.search),
    ("injection", INJECTION.search),
    ("assistant-voice", _ASSISTANT_VOICE.search),
)
