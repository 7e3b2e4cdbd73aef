"""Sites that a text names: by their title in any language, or by their host."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from urllib.parse import urlsplit

from hamlet.core.text import normal, words
from hamlet.suggest.content import LinkRow

_SHORTEST, _SHORTEST_LATIN = 2, 4


class Entities:
    """Longest match of titles and hosts; an alphabet's names must be whole words."""

    def __init__(self, rows: Iterable[LinkRow]) -> None:
        aliases: dict[str, LinkRow] = {}
        for row in rows:
            if "crisis" in row.topics:
                continue
            for alias in (*row.title.values(), urlsplit(row.url).hostname or ""):
                aliases.setdefault(_key(alias.removeprefix("www.")), row)
        long_enough = {k: r for k, r in aliases.items() if len(k.strip()) >= _least(k)}
        longest_first = sorted(long_enough.items(), key=lambda pair: -len(pair[0]))
        # A text has few beginnings of aliases, and is looked through for no others.
        self._by_head: dict[str, list[tuple[int, str, LinkRow]]] = {}
        for rank, (alias, row) in enumerate(longest_first):
            self._by_head.setdefault(_head(alias), []).append((rank, alias, row))

    def find(self, text: str) -> LinkRow | None:
        """The site with the longest name in the text."""
        own, rest = words(text), normal(text)
        latin = f" {' '.join(own)} "
        heads = {*own, *(rest[i : i + _SHORTEST] for i in range(len(rest) - 1))}
        found = [
            (rank, row)
            for head in heads & self._by_head.keys()
            for rank, alias, row in self._by_head[head]
            if alias in (latin if alias.isascii() else rest)
        ]
        return min(found, key=itemgetter(0))[1] if found else None


def _head(alias: str) -> str:
    """The first word of an alphabet's name, the first characters of another."""
    return alias.split()[0] if alias.isascii() else alias[:_SHORTEST]


def _key(alias: str) -> str:
    key = normal(alias).strip()
    return f" {' '.join(words(alias))} " if key.isascii() else key


def _least(key: str) -> int:
    return _SHORTEST_LATIN if key.isascii() else _SHORTEST
