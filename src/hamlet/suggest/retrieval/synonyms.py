"""A table of synonyms in three languages: cross-lingual matching without a model."""

from __future__ import annotations

from functools import cache
from importlib import resources

from hamlet.core.text import detect_language, normalize, split_words


@cache
def _load_table() -> dict[str, tuple[str, ...]]:
    """Maps each word to the words for its topic in all languages."""
    file = resources.files("hamlet.suggest.retrieval").joinpath("data/synonyms.tsv")
    table: dict[str, tuple[str, ...]] = {}
    for line in file.read_text("utf-8").splitlines():
        group = tuple(normalize(line).replace("|", " ").split())
        for word in group:
            table[word] = table.get(word, ()) + group
    return table


def translations(text: str) -> list[str]:
    """Words of other languages for the topics that `text` names.

    Korean and Japanese words may have endings, so there the longest prefix in the table counts.
    """
    table = _load_table()
    found: list[str] = []
    for word in split_words(text):
        known = next((word[:n] for n in range(len(word), 1, -1) if word[:n] in table), None)
        if known and (known == word or not word.isascii()):
            own_language = detect_language(known)
            found += [other for other in table[known] if detect_language(other) != own_language]
    return list(dict.fromkeys(found))
