"""Which chips may be shown. A pure function that every tier must pass.

The order of the checks is the main-screen design's (B9); each returns a reason or None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from hamlet.core.text import Language, normal, sentences, words
from hamlet.suggest.retrieval import tokens

_PLACEHOLDER = re.compile(
    r"(?i)^(?:question|chip|suggestion|option|질문|質問|候補)\s*\d+\W*$|^\W*$|lorem ipsum"
)
_SLOT = re.compile(r"\{[^}]*\}|\[\w+\]|<\w+>|\$\{")
_HIDDEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_MARKDOWN = re.compile(r"\*\*|__|`|^#+\s|\]\(|^\s*(?:[-*•]|\d+[.)])\s")
_QUOTED = re.compile(r"^[\"'“‘「『].*[\"'”’」』]$")
_ADDRESS = re.compile(r"(?i)https?:|www\.|\b[\w-]+\.(?:com|net|org|io|kr|jp|co|dev|example|ai)\b")
_MARKUP = re.compile(r"</?\w+[^>]*>|&\w+;")
_PII = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.]+|\d{2,4}[- ]\d{3,4}[- ]\d{4}|\d{6}-?[1-4]\d{6}|\b(?:\d[ -]?){13,16}\b"
)
_INJECTION = re.compile(
    r"(?i)(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|above|previous)"
    r"|system prompt|jailbreak|(?:이전|위의?|앞의?)\s*(?:지시|명령|규칙|프롬프트)"
    r"|시스템 프롬프트|(?:以前|前|上記)の(?:指示|命令)|指示を無視|システムプロンプト"
)
_ASSISTANT = re.compile(
    r"(?i)^(?:would you like|do you want|shall i|can i help|let me know|i can|i could|as an ai)"
    r"|(?:드릴까요|도와드|원하시나요|궁금하신가요|알려드릴)|(?:しましょうか|お手伝い|いかがですか)"
)
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_LATIN = re.compile(r"[A-Za-z]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_TONE = re.compile(r"[\U0001f3fb-\U0001f3ff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_WORD = re.compile(r"\W+")
_JOINED = frozenset({"Mn", "Me", "Mc", "Cf"})
_SHORT = 4
_NEAR, _TAINT = 0.6, 0.3
# What two texts are compared by.
Pieces = frozenset[str]


def refusal(text: str, language: Language, max_chars: int, context: str = "") -> str | None:
    """Why a label must not be shown, or None. `context` is what names may come from."""
    text = unicodedata.normalize("NFC", text).strip()
    for name, holds in _CHECKS:
        if holds(text):
            return name
    if seen_length(text) > max_chars:
        return "too-long"
    for name, holds in _LATER:
        if holds(text):
            return name
    return None if _in_script(text, language, context) else "wrong-language"


def length_if_sound(text: str, language: Language) -> int | None:
    """How long a label is, if in no context anything but its length can be against it."""
    text = unicodedata.normalize("NFC", text).strip()
    return None if refusal(text, language, len(text)) else seen_length(text)


def unsafe(prompt: str) -> str | None:
    """Why a prompt must not be sent on a user's behalf, or None."""
    for name, holds in (*_UNSAFE, *_LATER[:-1]):
        if holds(prompt):
            return name
    return None


def has_pii(text: str) -> bool:
    """Whether a text holds an address, a phone, identity or card number."""
    return bool(_PII.search(text))


def apart(text: str) -> tuple[str, str]:
    """A text without its sentences that try to give orders, and those sentences."""
    if not _INJECTION.search(text):
        return text, ""
    parts = sentences(text)
    bad = [part for part in parts if _INJECTION.search(part)]
    good = [part for part in parts if not _INJECTION.search(part)]
    return " ".join(good), " ".join(bad)


def tainted(label: str, orders: str, context: str) -> bool:
    """Whether a label says what only a page's orders say."""
    if not orders:
        return False
    own = set(tokens(label))
    return len(own & (set(tokens(orders)) - set(tokens(context)))) >= max(1, len(own) * _TAINT)


def grounded(draft: str, context: str | Pieces) -> bool:
    """Whether a suggestion shares a word, or a pair of characters, with its context.

    Takes the context's `terms` as well: who compares many makes them only once.
    """
    about = context if isinstance(context, frozenset) else terms(context)
    return not about.isdisjoint(tokens(draft))


def terms(text: str) -> Pieces:
    """The words of a text, and its pairs of characters, each once."""
    return frozenset(tokens(text))


def echoes(text: str | Pieces, said: Iterable[str | Pieces]) -> bool:
    """Whether a label only repeats what the user said."""
    return any(similar(text, given) for given in said)


def similar(one: str | Pieces, other: str | Pieces) -> bool:
    """Near duplicates by the Jaccard index of their character bigrams.

    Takes bigrams as well as texts: who compares many makes each only once.
    """
    a, b = _made(one), _made(other)
    common = len(a & b)
    return common / (len(a) + len(b) - common) >= _NEAR


def _made(text: str | Pieces) -> Pieces:
    return text if isinstance(text, frozenset) else bigrams(text)


def bigrams(text: str) -> Pieces:
    """The pairs of characters of a text, less what is no letter or digit."""
    compact = _NO_WORD.sub("", normal(text))
    return frozenset(compact[i : i + 2] for i in range(len(compact) - 1)) or frozenset((compact,))


def seen_length(text: str) -> int:
    """Characters as a reader counts them: marks, and tones of emoji, belong to what they follow."""
    if text.isascii():
        return len(text)
    return sum(1 for c in text if unicodedata.category(c) not in _JOINED and not _TONE.match(c))


def _in_script(text: str, language: Language, context: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    if language == "ja":
        return bool(_KANA.search(text)) and not _HANGUL.search(text)
    if language == "en":
        latin = len(_LATIN.findall(text))
        return bool(letters) and latin / len(letters) >= 0.8
    # Latin words of the context, and short ones, are names; the rest must be Hangul.
    known = set(words(context))
    names = [w for w in _LATIN_WORD.findall(text) if len(w) <= _SHORT or w.lower() in known]
    hangul, others = len(_HANGUL.findall(text)), len(letters) - sum(map(len, names))
    return bool(hangul) and hangul / others >= 0.5


_Check = tuple[str, Callable[[str], object]]
_CHECKS: tuple[_Check, ...] = (
    ("empty", lambda text: not text),
    ("newline", lambda text: "\n" in text or "\r" in text),
    ("hidden", _HIDDEN.search),
    ("control", _CONTROL.search),
    ("placeholder", _PLACEHOLDER.search),
    ("html", _MARKUP.search),
    ("unfilled-slot", _SLOT.search),
    ("markdown", _MARKDOWN.search),
    ("quoted", _QUOTED.search),
)
_UNSAFE: tuple[_Check, ...] = (
    ("hidden", _HIDDEN.search),
    ("html", _MARKUP.search),
    ("unfilled-slot", _SLOT.search),
)
_LATER: tuple[_Check, ...] = (
    ("pii", _PII.search),
    ("url", _ADDRESS.search),
    ("injection", _INJECTION.search),
    ("assistant-voice", _ASSISTANT.search),
)
