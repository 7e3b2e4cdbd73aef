"""Sites that a text names: by their title in any language, or by their host."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from hamlet.content import LinkRow
from hamlet.core.text import normal, words

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
        self._aliases = sorted(long_enough.items(), key=lambda pair: -len(pair[0]))

    def find(self, text: str) -> LinkRow | None:
        """The site with the longest name in the text."""
        latin, rest = f" {' '.join(words(text))} ", normal(text)
        for alias, row in self._aliases:
            if alias in (latin if alias.isascii() else rest):
                return row
        return None


def _key(alias: str) -> str:
    key = normal(alias).strip()
    return f" {' '.join(words(alias))} " if key.isascii() else key


def _least(key: str) -> int:
    return _SHORTEST_LATIN if key.isascii() else _SHORTEST
