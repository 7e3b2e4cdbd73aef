"""Chips without a model: a bank of written intents, found by context, filled up with starters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hamlet.core.text import Language, resolve_particles
from hamlet.suggest.chips.site_matcher import SiteMatcher
from hamlet.suggest.chips.validation import (
    are_similar,
    bigrams,
    is_echo,
    label_rejection_reason,
    length_if_valid,
    prompt_rejection_reason,
    repeats_injection,
)
from hamlet.suggest.content import LANGUAGES, ChipRow, Content, load_content
from hamlet.suggest.content.rows import localized_text
from hamlet.suggest.ids import chip_id
from hamlet.suggest.model import Chip, Draft, SuggestRequest
from hamlet.suggest.retrieval import Embedder, HybridIndex
from hamlet.suggest.safety import mentions_crisis

# Below this share of a perfect match an intent is noise: see docs/adr/0006.
_MIN_RELEVANCE, _TAIL_SHARE = 0.18, 0.4
_MAX_PER_KIND = 2
CRISIS_TOPIC, _SLOT_TOPIC, _SITE_TOPIC = "crisis", "slot", "site"
_SPECIAL_TOPICS = {CRISIS_TOPIC, _SLOT_TOPIC, _SITE_TOPIC}
_MAX_SLOT_CHARS = 80


class _DraftFeatures:
    """What can be said of a draft whoever asks; each thing is looked at when it is needed."""

    def __init__(self, draft: Draft, language: Language) -> None:
        self._draft, self._language = draft, language

    @cached_property
    def id(self) -> str:
        return chip_id(self._language, self._draft.prompt)

    @cached_property
    def bigrams(self) -> frozenset[str]:
        return bigrams(self._draft.text)

    @cached_property
    def is_harmful(self) -> bool:
        draft = self._draft
        return bool(
            prompt_rejection_reason(draft.prompt) or mentions_crisis(f"{draft.text} {draft.prompt}")
        )


@dataclass(frozen=True)
class _Intent(Draft):
    """A draft of the bank. It stays, so what was said of it stays with it; no others do."""

    language: Language = "en"

    @cached_property
    def features(self) -> _DraftFeatures:
        return _DraftFeatures(self, self.language)

    @cached_property
    def valid_length(self) -> int | None:
        return length_if_valid(self.text, self.language)


class _Row(NamedTuple):
    """A row of a pack, and its drafts."""

    row: ChipRow
    drafts: Mapping[Language, _Intent]


class ChipBank:
    """The written intents of the packs, and templates for what a context names."""

    def __init__(self, content: Content | None = None) -> None:
        content = content or load_content()
        rows = [_Row(row, _build_drafts(row)) for row in content.chips]
        self._plain_rows = [own for own in rows if not _SPECIAL_TOPICS & set(own.row.topics)]
        self._site_rows, self._slot_rows, self._crisis_rows = (
            [own for own in rows if topic in own.row.topics]
            for topic in (_SITE_TOPIC, _SLOT_TOPIC, CRISIS_TOPIC)
        )
        self._starter_order = sorted(
            self._plain_rows, key=lambda own: (own.row.hours is None, own.row.kind != "starter")
        )
        self._site_matcher = SiteMatcher(content.links)
        plain = [own.row for own in self._plain_rows]
        self._index = HybridIndex(
            map(_weighted_fields, plain), [_passage_text(row) for row in plain]
        )

    def embed(self, embedder: Embedder) -> None:
        """Search by meaning too, from when this returns; takes seconds."""
        self._index.embed(embedder)

    async def find_related(
        self, text: str, language: Language, within_s: float = 10.0
    ) -> list[Draft]:
        """Intents about `text`, best first."""
        hits = await self._index.search(text, 30, _MIN_RELEVANCE, within_s)
        best = hits[0].relevance if hits else 0.0
        # A weak tail beside a strong head is noise too.
        relevant = [
            self._plain_rows[hit.position] for hit in hits if hit.relevance >= best * _TAIL_SHARE
        ]
        return _in_language(relevant, language)

    def site_drafts(self, text: str, language: Language) -> list[Draft]:
        """Templates of the topic of the site that `text` names, its name filled in."""
        site = self._site_matcher.find_site(text)
        if site is None:
            return []
        topics = {*site.topics[:1], "any"}
        fitting = [own for own in self._site_rows if topics & set(own.row.topics)]
        # Those of its own topic come before those of any.
        fitting.sort(key=lambda own: "any" in own.row.topics)
        name = localized_text(site.title, language)
        return [
            _fill_slot(draft, "{t}", name, language) for draft in _in_language(fitting, language)
        ]

    def follow_ups(self, headline: str, language: Language) -> list[Draft]:
        """What can be asked of anything: the slot in their prompts takes the user's own words."""
        if not 2 <= len(headline) <= _MAX_SLOT_CHARS:
            return []
        slots = _in_language(self._slot_rows, language)
        return [_fill_slot(slot, "{q}", headline, language) for slot in slots]

    def crisis_drafts(self, language: Language) -> list[Draft]:
        """The intents approved for someone in danger."""
        return _in_language(self._crisis_rows, language)

    def starters(self, surface: str, hour: int, language: Language) -> list[Draft]:
        """Intents that need no context, those for this hour first."""
        fitting = [
            o for o in self._starter_order if surface in o.row.surfaces and o.row.is_for_hour(hour)
        ]
        return _in_language(fitting, language)

    def find_by_keys(self, keys: Iterable[str], language: Language) -> list[Draft]:
        """The intents of these keys, in this order."""
        known = {own.row.key: own for own in self._plain_rows}
        return _in_language([known[key] for key in keys if key in known], language)


def _build_drafts(row: ChipRow) -> Mapping[Language, _Intent]:
    return {
        language: _Intent(
            localized_text(row.text, language),
            localized_text(row.prompt, language),
            row.kind,
            row.icon,
            language,
        )
        for language in LANGUAGES
    }


def _in_language(rows: Iterable[_Row], language: Language) -> list[Draft]:
    return [own.drafts[language] for own in rows]


def _fill_slot(draft: Draft, slot: str, value: str, language: Language) -> Draft:
    """The draft with its slot taken; Korean particles follow what stands there now."""
    text, prompt = draft.text.replace(slot, value), draft.prompt.replace(slot, value)
    if language == "ko":
        text, prompt = resolve_particles(text), resolve_particles(prompt)
    # It has words of a context in it now, so it is none of the bank's.
    return Draft(text, prompt, draft.kind, draft.icon)


def select_chips(
    drafts: Iterable[Draft], ask: SuggestRequest, chosen: Sequence[Chip] = ()
) -> list[Chip]:
    """Add chips to `taken` until there are enough: valid, no echoes, no twins, mixed kinds."""
    chips = list(chosen)
    if len(chips) == ask.chip_limit:
        return chips
    kinds = Counter(chip.kind for chip in chips)
    shown_bigrams, user_bigrams = (
        [bigrams(chip.text) for chip in chips],
        [bigrams(text) for text in ask.user_texts],
    )
    # What costs least is looked at first: most drafts are passed over for what is shown already.
    for draft in drafts:
        if len(chips) == ask.chip_limit:
            break
        if _is_kind_full(draft, kinds, ask):
            continue
        features = (
            draft.features if isinstance(draft, _Intent) else _DraftFeatures(draft, ask.language)
        )
        unwanted = features.id in ask.exclude or draft.text in ask.exclude
        if unwanted or any(are_similar(features.bigrams, other) for other in shown_bigrams):
            continue
        if is_echo(features.bigrams, user_bigrams) or not _is_valid(draft, features, ask):
            continue
        kinds[draft.kind] += 1
        shown_bigrams.append(features.bigrams)
        attributes = (ask.action, draft.kind, draft.icon, ask.language, len(chips) + 1)
        chips.append(Chip(features.id, draft.text, draft.prompt, *attributes))
    return chips


def _is_kind_full(draft: Draft, kinds: Counter[str], ask: SuggestRequest) -> bool:
    """Whether its kind is not asked for, or where none is, there are enough of it."""
    if ask.chip_kinds:
        return draft.kind not in ask.chip_kinds
    return kinds[draft.kind] >= _MAX_PER_KIND


def _is_valid(draft: Draft, features: _DraftFeatures, ask: SuggestRequest) -> bool:
    if features.is_harmful:
        return False
    if ask.injected_text and repeats_injection(
        f"{draft.text} {draft.prompt}", ask.injected_text, ask.context_text
    ):
        return False
    return _is_known_valid(draft, ask) or not label_rejection_reason(
        draft.text, ask.language, ask.chip_chars, ask.context_text
    )


def _is_known_valid(draft: Draft, ask: SuggestRequest) -> bool:
    """Whether it is known already that nothing is against a label."""
    if not isinstance(draft, _Intent) or draft.valid_length is None:
        return False
    return draft.valid_length <= ask.chip_chars


def _weighted_fields(row: ChipRow) -> list[tuple[str, int]]:
    weighted = ((row.tags, 2), (row.text, 1), (row.prompt, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighted]


def _passage_text(row: ChipRow) -> str:
    return f"{localized_text(row.prompt, 'ko')} {localized_text(row.tags, 'ko')}"
