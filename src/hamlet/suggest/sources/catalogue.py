"""The links of the packs: stable public sites, described in Korean, English and Japanese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamlet.core.text import Language
from hamlet.spi import API_VERSION
from hamlet.spi.sources import FoundLink, LinkQuery, SourceSettings
from hamlet.suggest.content import LANGUAGES, LinkRow, shipped_links
from hamlet.suggest.content.rows import said
from hamlet.suggest.retrieval import Embedder, Hit, HybridIndex

# Below this share of a perfect match a link is noise: see docs/adr/0006.
_GATE = 0.2
_TAIL, _FOREIGN = 0.4, 0.7


class Catalogue:
    """The links that come with hamlet, and those of users' packs."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(
        self, settings: SourceSettings | None = None, rows: Sequence[LinkRow] | None = None
    ) -> None:
        self._rows = list(rows) if rows is not None else shipped_links()
        self._index = HybridIndex(map(_fields, self._rows), [_passage(row) for row in self._rows])

    def embed(self, embedder: Embedder) -> None:
        """Search by meaning too, from when this returns; takes seconds."""
        self._index.embed(embedder)

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        if query.keys:
            return self._named(query)
        if not query.text:
            return self._choice(query)
        hits = await self._index.search(query.text, query.limit * 3, _GATE, query.within_s)
        weighed = sorted((self._weighed(hit, query.language) for hit in hits), key=_by_share)
        best = weighed[0].share if weighed else 0.0
        # A weak tail beside a strong head is noise too.
        kept = [hit for hit in weighed if hit.share >= best * _TAIL]
        return [self._found(hit, query.language) for hit in kept[: query.limit]]

    def _weighed(self, hit: Hit, language: Language) -> Hit:
        """A site that the reader cannot read is worth less."""
        own = self._rows[hit.position].site_lang == language
        return hit if own else Hit(hit.position, hit.share * _FOREIGN)

    def _choice(self, query: LinkQuery) -> list[FoundLink]:
        """One link a topic, in the reader's language, in the packs' order."""
        seen: set[str] = set()
        chosen: list[FoundLink] = []
        for i, row in enumerate(self._rows):
            if len(chosen) == query.limit:
                break
            topic = row.topics[0] if row.topics else row.key
            if row.site_lang == query.language and topic not in seen and topic != "crisis":
                seen.add(topic)
                chosen.append(self._found(Hit(i, 0.0), query.language))
        return chosen

    def _named(self, query: LinkQuery) -> list[FoundLink]:
        known = {row.key: i for i, row in enumerate(self._rows)}
        hits = [Hit(known[key], 1.0) for key in query.keys if key in known]
        return [self._found(hit, query.language) for hit in hits]

    def _found(self, hit: Hit, language: Language) -> FoundLink:
        row = self._rows[hit.position]
        return FoundLink(
            url=row.url,
            title=said(row.title, language),
            snippet=said(row.text, language),
            kind=row.kind,
            language=row.site_lang,
            score=round(min(hit.share, 1.0), 3),
            source="catalogue",
            icon=row.icon,
            topics=tuple(row.topics),
            license=row.license,
        )


def _by_share(hit: Hit) -> tuple[float, int]:
    return -hit.share, hit.position


def _fields(row: LinkRow) -> list[tuple[str, int]]:
    weighed = ((row.title, 2), (row.tags, 2), (row.text, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighed]


def _passage(row: LinkRow) -> str:
    """What its vector is made of: one language is enough, the encoder knows them all."""
    parts = [said(texts, row.site_lang) for texts in (row.title, row.text, row.tags)]
    return " ".join(part for part in parts if part)
