"""How alike two texts are: by their terms, or by their character bigrams.

Each comparison takes a text or the set made of it, so that who compares one text with many makes
its set once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hamlet.core.text import normalize
from hamlet.suggest.retrieval import tokenize

TermSet = frozenset[str]
_NON_WORD = re.compile(r"\W+")
_MIN_SIMILARITY = 0.6


def term_set(text: str) -> TermSet:
    """The search terms of a text: stemmed words, and bigrams of Korean and Japanese."""
    return frozenset(tokenize(text))


def bigrams(text: str) -> TermSet:
    """The character bigrams of a text, of its letters and digits only."""
    compact = _NON_WORD.sub("", normalize(text))
    return frozenset(compact[i : i + 2] for i in range(len(compact) - 1)) or frozenset((compact,))


def is_grounded(draft: str, context: str | TermSet) -> bool:
    """Whether a suggestion shares a term with its context, given as text or `term_set`."""
    about = context if isinstance(context, frozenset) else term_set(context)
    return not about.isdisjoint(tokenize(draft))


def is_echo(text: str | TermSet, user_texts: Iterable[str | TermSet]) -> bool:
    """Whether a label only repeats what the user wrote. Texts or `bigrams`."""
    return any(are_similar(text, given) for given in user_texts)


def are_similar(one: str | TermSet, other: str | TermSet) -> bool:
    """Whether the Jaccard index of the bigrams is at least 0.6. Texts or `bigrams`."""
    a, b = _as_bigrams(one), _as_bigrams(other)
    common = len(a & b)
    return common / (len(a) + len(b) - common) >= _MIN_SIMILARITY


def _as_bigrams(text: str | TermSet) -> TermSet:
    return text if isinstance(text, frozenset) else bigrams(text)
