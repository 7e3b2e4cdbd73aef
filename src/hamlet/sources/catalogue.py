"""hamlet's own links: stable public sites, described by hand in Korean, English and Japanese."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import ClassVar

import msgspec

from hamlet.core.text import Language
from hamlet.retrieval import Hit, Index
from hamlet.spi import API_VERSION
from hamlet.spi.sources import FoundLink, LinkQuery, SourceSettings

# Below this share of a perfect match a link is noise: see docs/adr/0006.
_GATE = 0.2
_TAIL, _FOREIGN = 0.4, 0.7
_LANGUAGES: tuple[Language, ...] = ("ko", "en", "ja")


class Entry(msgspec.Struct, frozen=True):
    """One line of a catalogue: texts per language, and where it leads."""

    id: str
    url: str
    kind: str
    site_lang: str
    topics: list[str]
    icon: str
    title: dict[str, str]
    text: dict[str, str]
    tags: dict[str, str]


class Catalogue:
    """The links that come with hamlet."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(
        self, settings: SourceSettings | None = None, entries: Sequence[Entry] | None = None
    ) -> None:
        self._entries = list(entries) if entries is not None else shipped()
        self._index = Index(_fields(entry) for entry in self._entries)

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        if not query.text:
            return self._choice(query)
        hits = self._index.search(query.text, query.limit * 3, _GATE)
        weighed = sorted((self._weighed(hit, query.language) for hit in hits), key=_by_share)
        best = weighed[0].share if weighed else 0.0
        # A weak tail beside a strong head is noise too.
        kept = [hit for hit in weighed if hit.share >= best * _TAIL]
        return [self._found(hit, query.language) for hit in kept[: query.limit]]

    def _weighed(self, hit: Hit, language: Language) -> Hit:
        """A site that the reader cannot read is worth less."""
        own = self._entries[hit.position].site_lang == language
        return hit if own else Hit(hit.position, hit.share * _FOREIGN)

    def _choice(self, query: LinkQuery) -> list[FoundLink]:
        """One link a topic, in the reader's language, in the catalogue's order."""
        seen: set[str] = set()
        chosen: list[FoundLink] = []
        for i, entry in enumerate(self._entries):
            topic = entry.topics[0]
            if entry.site_lang == query.language and topic not in seen and topic != "crisis":
                seen.add(topic)
                chosen.append(self._found(Hit(i, 0.0), query.language))
        return chosen[: query.limit]

    def _found(self, hit: Hit, language: Language) -> FoundLink:
        entry = self._entries[hit.position]
        return FoundLink(
            url=entry.url,
            title=entry.title[language],
            snippet=entry.text[language],
            kind=entry.kind,
            language=entry.site_lang,
            score=round(min(hit.share, 1.0), 3),
            source="catalogue",
            icon=entry.icon,
            topics=tuple(entry.topics),
        )


def _by_share(hit: Hit) -> tuple[float, int]:
    return -hit.share, hit.position


def shipped() -> list[Entry]:
    """The entries in the wheel."""
    file = resources.files("hamlet.sources").joinpath("data/links.jsonl")
    return msgspec.json.Decoder(Entry).decode_lines(file.read_bytes())


def _fields(entry: Entry) -> list[tuple[str, int]]:
    return [
        field
        for language in _LANGUAGES
        for field in (
            (entry.title[language], 2),
            (entry.tags[language], 2),
            (entry.text[language], 1),
        )
    ]
