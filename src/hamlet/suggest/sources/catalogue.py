"""The links of the packs: public sites, described in Korean, English and Japanese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from hamlet.core.text import Language
from hamlet.spi import API_VERSION
from hamlet.spi.sources import FoundLink, LinkQuery, SourceSettings
from hamlet.suggest.content import CRISIS_TOPIC, LANGUAGES, LinkRow, shipped_links
from hamlet.suggest.content.rows import localized_text
from hamlet.suggest.retrieval import Embedder, Hit, HybridIndex, without_weak_tail

# Where both come from: docs/adr/0008-constants-of-retrieval.md
_MIN_RELEVANCE, _FOREIGN_WEIGHT = 0.2, 0.7


class Catalogue:
    """A source that searches the links of the packs, and needs no network."""

    api_version: ClassVar[int] = API_VERSION
    Settings: ClassVar[type[SourceSettings]] = SourceSettings

    def __init__(
        self, settings: SourceSettings | None = None, rows: Sequence[LinkRow] | None = None
    ) -> None:
        self._rows = list(rows) if rows is not None else shipped_links()
        self._index = HybridIndex(
            map(_weighted_fields, self._rows), [_passage_text(row) for row in self._rows]
        )

    def embed(self, embedder: Embedder) -> None:
        """Add vectors to the index, which later searches use. Blocks for seconds."""
        self._index.embed(embedder)

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        if query.keys:
            return self._find_by_keys(query)
        if not query.text:
            return self._editors_choice(query)
        hits = await self._index.search(query.text, query.limit * 3, _MIN_RELEVANCE, query.within_s)
        weighted = sorted(
            (self._weigh_language(hit, query.language) for hit in hits), key=_by_relevance
        )
        relevant = without_weak_tail(weighted)[: query.limit]
        return [self._build_link(hit, query.language) for hit in relevant]

    def _weigh_language(self, hit: Hit, language: Language) -> Hit:
        """Lower the relevance of a site in another language than the reader's."""
        is_readable = self._rows[hit.position].site_lang == language
        return hit if is_readable else Hit(hit.position, hit.relevance * _FOREIGN_WEIGHT)

    def _editors_choice(self, query: LinkQuery) -> list[FoundLink]:
        """One link per topic, in the reader's language and the order of the packs."""
        seen: set[str] = set()
        chosen: list[FoundLink] = []
        for i, row in enumerate(self._rows):
            if len(chosen) == query.limit:
                break
            topic = row.topics[0] if row.topics else row.key
            if row.site_lang == query.language and topic not in seen and topic != CRISIS_TOPIC:
                seen.add(topic)
                chosen.append(self._build_link(Hit(i, 0.0), query.language))
        return chosen

    def _find_by_keys(self, query: LinkQuery) -> list[FoundLink]:
        positions = {row.key: i for i, row in enumerate(self._rows)}
        hits = [Hit(positions[key], 1.0) for key in query.keys if key in positions]
        return [self._build_link(hit, query.language) for hit in hits]

    def _build_link(self, hit: Hit, language: Language) -> FoundLink:
        row = self._rows[hit.position]
        return FoundLink(
            url=row.url,
            title=localized_text(row.title, language),
            snippet=localized_text(row.text, language),
            kind=row.kind,
            language=row.site_lang,
            score=round(min(hit.relevance, 1.0), 3),
            source="catalogue",
            icon=row.icon,
            topics=tuple(row.topics),
            license=row.license,
        )


def _by_relevance(hit: Hit) -> tuple[float, int]:
    return -hit.relevance, hit.position


def _weighted_fields(row: LinkRow) -> list[tuple[str, int]]:
    weighted = ((row.title, 2), (row.tags, 2), (row.text, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighted]


def _passage_text(row: LinkRow) -> str:
    """The text of its vector. One language is enough, since the encoder is multilingual."""
    parts = [localized_text(texts, row.site_lang) for texts in (row.title, row.text, row.tags)]
    return " ".join(part for part in parts if part)
