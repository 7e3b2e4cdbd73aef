"""Finds the site that a text names, by its title in any language or by its host."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from urllib.parse import urlsplit

from hamlet.core.text import normalize, split_words
from hamlet.suggest.content import CRISIS_TOPIC, LinkRow

_MIN_CHARS, _MIN_LATIN_CHARS = 2, 4


class SiteMatcher:
    """The longest match of titles and hosts wins; Latin names must be whole words."""

    def __init__(self, rows: Iterable[LinkRow]) -> None:
        aliases: dict[str, LinkRow] = {}
        for row in rows:
            if CRISIS_TOPIC in row.topics:
                continue
            for alias in (*row.title.values(), urlsplit(row.url).hostname or ""):
                aliases.setdefault(_alias_key(alias.removeprefix("www.")), row)
        long_enough = {k: r for k, r in aliases.items() if len(k.strip()) >= _min_length(k)}
        longest_first = sorted(long_enough.items(), key=lambda pair: -len(pair[0]))
        # By prefix, since a text contains few of them: only their aliases are searched for.
        self._by_prefix: dict[str, list[tuple[int, str, LinkRow]]] = {}
        for rank, (alias, row) in enumerate(longest_first):
            self._by_prefix.setdefault(_prefix(alias), []).append((rank, alias, row))

    def find_site(self, text: str) -> LinkRow | None:
        """The site with the longest name in the text."""
        text_words, normalized = split_words(text), normalize(text)
        latin = f" {' '.join(text_words)} "
        prefixes = {
            *text_words,
            *(normalized[i : i + _MIN_CHARS] for i in range(len(normalized) - 1)),
        }
        found = [
            (rank, row)
            for prefix in prefixes & self._by_prefix.keys()
            for rank, alias, row in self._by_prefix[prefix]
            if alias in (latin if alias.isascii() else normalized)
        ]
        return min(found, key=itemgetter(0))[1] if found else None


def _prefix(alias: str) -> str:
    """The first word of a Latin name, the first characters of another."""
    return alias.split()[0] if alias.isascii() else alias[:_MIN_CHARS]


def _alias_key(alias: str) -> str:
    key = normalize(alias).strip()
    return f" {' '.join(split_words(alias))} " if key.isascii() else key


def _min_length(key: str) -> int:
    return _MIN_LATIN_CHARS if key.isascii() else _MIN_CHARS
