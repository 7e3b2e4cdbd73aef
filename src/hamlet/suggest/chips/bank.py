"""Chips without a model: written intents, found by context, and starters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hamlet.core.text import Language, resolve_particles
from hamlet.suggest.chips.selection import BankDraft
from hamlet.suggest.chips.site_matcher import SiteMatcher
from hamlet.suggest.content import CRISIS_TOPIC, LANGUAGES, ChipRow, Content, load_content
from hamlet.suggest.content.rows import localized_text
from hamlet.suggest.model import Draft
from hamlet.suggest.retrieval import Embedder, HybridIndex, without_weak_tail

# Below this share of a perfect match an intent is noise: docs/adr/0008-constants-of-retrieval.md
_MIN_RELEVANCE = 0.18
_SLOT_TOPIC, _SITE_TOPIC = "slot", "site"
_SPECIAL_TOPICS = {CRISIS_TOPIC, _SLOT_TOPIC, _SITE_TOPIC}
_MAX_SLOT_CHARS = 80
_MAX_HITS = 30


class _BankRow(NamedTuple):
    """A row of a pack, and its drafts."""

    row: ChipRow
    drafts: Mapping[Language, BankDraft]


class ChipBank:
    """The written intents of the packs, and templates with a slot for what a context names."""

    def __init__(self, content: Content | None = None) -> None:
        content = content or load_content()
        rows = [_BankRow(row, _build_drafts(row)) for row in content.chips]
        self._plain_rows = [each for each in rows if not _SPECIAL_TOPICS & set(each.row.topics)]
        self._site_rows, self._slot_rows, self._crisis_rows = (
            [each for each in rows if topic in each.row.topics]
            for topic in (_SITE_TOPIC, _SLOT_TOPIC, CRISIS_TOPIC)
        )
        self._starter_order = sorted(
            self._plain_rows, key=lambda each: (each.row.hours is None, each.row.kind != "starter")
        )
        self._site_matcher = SiteMatcher(content.links)
        plain = [each.row for each in self._plain_rows]
        self._index = HybridIndex(
            map(_weighted_fields, plain), [_passage_text(row) for row in plain]
        )

    def embed(self, embedder: Embedder) -> None:
        """Add vectors to the index, which later searches use. Blocks for seconds."""
        self._index.embed(embedder)

    async def find_related(
        self, text: str, language: Language, within_s: float = 10.0
    ) -> list[Draft]:
        """Intents about `text`, best first. `within_s` bounds the wait for a vector, in seconds."""
        hits = await self._index.search(text, _MAX_HITS, _MIN_RELEVANCE, within_s)
        relevant = [self._plain_rows[hit.position] for hit in without_weak_tail(hits)]
        return _in_language(relevant, language)

    def site_drafts(self, text: str, language: Language) -> list[Draft]:
        """Templates for the topic of the site that `text` names, with the site's name filled in."""
        site = self._site_matcher.find_site(text)
        if site is None:
            return []
        topics = {*site.topics[:1], "any"}
        fitting = [each for each in self._site_rows if topics & set(each.row.topics)]
        # Templates of the site's own topic precede those of any topic.
        fitting.sort(key=lambda each: "any" in each.row.topics)
        name = localized_text(site.title, language)
        return [
            _fill_slot(draft, "{t}", name, language) for draft in _in_language(fitting, language)
        ]

    def follow_ups(self, headline: str, language: Language) -> list[Draft]:
        """Questions that fit every topic: their prompts quote the user's own words."""
        if not 2 <= len(headline) <= _MAX_SLOT_CHARS:
            return []
        slots = _in_language(self._slot_rows, language)
        return [_fill_slot(slot, "{q}", headline, language) for slot in slots]

    def crisis_drafts(self, language: Language) -> list[Draft]:
        """The intents approved for a person in danger."""
        return _in_language(self._crisis_rows, language)

    def starters(self, surface: str, hour: int, language: Language) -> list[Draft]:
        """Intents that need no context, those for this hour first."""
        fitting = [
            each
            for each in self._starter_order
            if surface in each.row.surfaces and each.row.is_for_hour(hour)
        ]
        return _in_language(fitting, language)

    def find_by_keys(self, keys: Iterable[str], language: Language) -> list[Draft]:
        """The intents with these keys, in this order."""
        by_key = {each.row.key: each for each in self._plain_rows}
        return _in_language([by_key[key] for key in keys if key in by_key], language)


def _build_drafts(row: ChipRow) -> Mapping[Language, BankDraft]:
    return {
        language: BankDraft(
            localized_text(row.text, language),
            localized_text(row.prompt, language),
            row.kind,
            row.icon,
            language,
        )
        for language in LANGUAGES
    }


def _in_language(rows: Iterable[_BankRow], language: Language) -> list[Draft]:
    return [each.drafts[language] for each in rows]


def _fill_slot(draft: Draft, slot: str, value: str, language: Language) -> Draft:
    """The draft with its slot filled; Korean particles are adapted to the new word."""
    text, prompt = draft.text.replace(slot, value), draft.prompt.replace(slot, value)
    if language == "ko":
        text, prompt = resolve_particles(text), resolve_particles(prompt)
    # Not a BankDraft: it contains words of a request, so its features must not be kept.
    return Draft(text, prompt, draft.kind, draft.icon)


def _weighted_fields(row: ChipRow) -> list[tuple[str, int]]:
    weighted = ((row.tags, 2), (row.text, 1), (row.prompt, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighted]


def _passage_text(row: ChipRow) -> str:
    return f"{localized_text(row.prompt, 'ko')} {localized_text(row.tags, 'ko')}"
