"""Which chips may be shown. A pure function that every tier must pass.

The order of the checks is the main-screen design's (B9); each returns a reason or None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from hamlet.core.text import Language, normalize, split_sentences, split_words
from hamlet.suggest.retrieval import tokenize

_PLACEHOLDER = re.compile(
    r"(?i)^(?:question|chip|suggestion|option|질문|質問|候補)\s*\d+\W*$|^\W*$|lorem ipsum"
)
_SLOT = re.compile(r"\{[^}]*\}|\[\w+\]|<\w+>|\$\{")
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_MARKDOWN = re.compile(r"\*\*|__|`|^#+\s|\]\(|^\s*(?:[-*•]|\d+[.)])\s")
_QUOTED = re.compile(r"^[\"'“‘「『].*[\"'”’」』]$")
_URL = re.compile(r"(?i)https?:|www\.|\b[\w-]+\.(?:com|net|org|io|kr|jp|co|dev|example|ai)\b")
_MARKUP = re.compile(r"</?\w+[^>]*>|&\w+;")
_PII = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.]+|\d{2,4}[- ]\d{3,4}[- ]\d{4}|\d{6}-?[1-4]\d{6}|\b(?:\d[ -]?){13,16}\b"
)
_INJECTION = re.compile(
    r"(?i)(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|above|previous)"
    r"|system prompt|jailbreak|(?:이전|위의?|앞의?)\s*(?:지시|명령|규칙|프롬프트)"
    r"|시스템 프롬프트|(?:以前|前|上記)の(?:指示|命令)|指示を無視|システムプロンプト"
)
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
_NON_WORD = re.compile(r"\W+")
_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Mc", "Cf"})
_MAX_SHORT_NAME_CHARS = 4
_MIN_SIMILARITY, _MAX_INJECTED_SHARE = 0.6, 0.3
# What two texts are compared by.
TermSet = frozenset[str]


def label_rejection_reason(
    text: str, language: Language, max_chars: int, context: str = ""
) -> str | None:
    """Why a label must not be shown, or None. `context` is what names may come from."""
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
    """How long a label is, if in no context anything but its length can be against it."""
    text = unicodedata.normalize("NFC", text).strip()
    return None if label_rejection_reason(text, language, len(text)) else visible_length(text)


def prompt_rejection_reason(prompt: str) -> str | None:
    """Why a prompt must not be sent on a user's behalf, or None."""
    for name, holds in (*_PROMPT_CHECKS, *_CONTENT_CHECKS[:-1]):
        if holds(prompt):
            return name
    return None


def has_pii(text: str) -> bool:
    """Whether a text holds an address, a phone, identity or card number."""
    return bool(_PII.search(text))


def split_injections(text: str) -> tuple[str, str]:
    """A text without its sentences that try to give orders, and those sentences."""
    if not _INJECTION.search(text):
        return text, ""
    parts = split_sentences(text)
    injections = [part for part in parts if _INJECTION.search(part)]
    clean = [part for part in parts if not _INJECTION.search(part)]
    return " ".join(clean), " ".join(injections)


def repeats_injection(label: str, injected_text: str, context: str) -> bool:
    """Whether a label says what only a page's orders say."""
    if not injected_text:
        return False
    label_tokens = set(tokenize(label))
    return len(label_tokens & (set(tokenize(injected_text)) - set(tokenize(context)))) >= max(
        1, len(label_tokens) * _MAX_INJECTED_SHARE
    )


def is_grounded(draft: str, context: str | TermSet) -> bool:
    """Whether a suggestion shares a word, or a pair of characters, with its context.

    Takes the context's `terms` as well: who compares many makes them only once.
    """
    about = context if isinstance(context, frozenset) else term_set(context)
    return not about.isdisjoint(tokenize(draft))


def term_set(text: str) -> TermSet:
    """The words of a text, and its pairs of characters, each once."""
    return frozenset(tokenize(text))


def is_echo(text: str | TermSet, user_texts: Iterable[str | TermSet]) -> bool:
    """Whether a label only repeats what the user said."""
    return any(are_similar(text, given) for given in user_texts)


def are_similar(one: str | TermSet, other: str | TermSet) -> bool:
    """Near duplicates by the Jaccard index of their character bigrams.

    Takes bigrams as well as texts: who compares many makes each only once.
    """
    a, b = _as_bigrams(one), _as_bigrams(other)
    common = len(a & b)
    return common / (len(a) + len(b) - common) >= _MIN_SIMILARITY


def _as_bigrams(text: str | TermSet) -> TermSet:
    return text if isinstance(text, frozenset) else bigrams(text)


def bigrams(text: str) -> TermSet:
    """The pairs of characters of a text, less what is no letter or digit."""
    compact = _NON_WORD.sub("", normalize(text))
    return frozenset(compact[i : i + 2] for i in range(len(compact) - 1)) or frozenset((compact,))


def visible_length(text: str) -> int:
    """Characters as a reader counts them: marks, and tones of emoji, belong to what they follow."""
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
    # Latin words of the context, and short ones, are names; the rest must be Hangul.
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
    ("pii", _PII.search),
    ("url", _URL.search),
    ("injection", _INJECTION.search),
    ("assistant-voice", _ASSISTANT_VOICE.search),
)
