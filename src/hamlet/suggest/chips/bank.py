"""Chips without a model: a bank of written intents, found by context, filled up with starters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hamlet.core.text import Language, with_particles
from hamlet.suggest.chips.entities import Entities
from hamlet.suggest.chips.validation import (
    bigrams,
    echoes,
    length_if_sound,
    refusal,
    similar,
    tainted,
    unsafe,
)
from hamlet.suggest.content import LANGUAGES, ChipRow, Content, load_content
from hamlet.suggest.content.rows import said
from hamlet.suggest.ids import chip_id
from hamlet.suggest.model import Ask, Chip, Draft
from hamlet.suggest.retrieval import Embedder, HybridIndex
from hamlet.suggest.safety import in_crisis

# Below this share of a perfect match an intent is noise: see docs/adr/0006.
_GATE, _TAIL = 0.18, 0.4
_MOST_OF_A_KIND = 2
CRISIS, _SLOT, _SITE = "crisis", "slot", "site"
_SPECIAL = {CRISIS, _SLOT, _SITE}
_LONGEST_SLOT = 80


class _Look:
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
        return bool(unsafe(draft.prompt) or in_crisis(f"{draft.text} {draft.prompt}"))


@dataclass(frozen=True)
class _Intent(Draft):
    """A draft of the bank. It stays, so what was said of it stays with it; no others do."""

    language: Language = "en"

    @cached_property
    def look(self) -> _Look:
        return _Look(self, self.language)

    @cached_property
    def length(self) -> int | None:
        return length_if_sound(self.text, self.language)


class _Row(NamedTuple):
    """A row of a pack, and its drafts."""

    row: ChipRow
    drafts: Mapping[Language, _Intent]


class ChipBank:
    """The written intents of the packs, and templates for what a context names."""

    def __init__(self, content: Content | None = None) -> None:
        content = content or load_content()
        rows = [_Row(row, _drafts(row)) for row in content.chips]
        self._plain = [own for own in rows if not _SPECIAL & set(own.row.topics)]
        self._of_sites, self._with_slot, self._of_help = (
            [own for own in rows if topic in own.row.topics] for topic in (_SITE, _SLOT, CRISIS)
        )
        self._in_turn = sorted(
            self._plain, key=lambda own: (own.row.hours is None, own.row.kind != "starter")
        )
        self._entities = Entities(content.links)
        plain = [own.row for own in self._plain]
        self._index = HybridIndex(map(_fields, plain), [_passage(row) for row in plain])

    def embed(self, embedder: Embedder) -> None:
        """Search by meaning too, from when this returns; takes seconds."""
        self._index.embed(embedder)

    async def related(self, text: str, language: Language, within_s: float = 10.0) -> list[Draft]:
        """Intents about `text`, best first."""
        hits = await self._index.search(text, 30, _GATE, within_s)
        best = hits[0].share if hits else 0.0
        # A weak tail beside a strong head is noise too.
        kept = [self._plain[hit.position] for hit in hits if hit.share >= best * _TAIL]
        return _said(kept, language)

    def about_site(self, text: str, language: Language) -> list[Draft]:
        """Templates of the topic of the site that `text` names, its name filled in."""
        site = self._entities.find(text)
        if site is None:
            return []
        topics = {*site.topics[:1], "any"}
        fitting = [own for own in self._of_sites if topics & set(own.row.topics)]
        # Those of its own topic come before those of any.
        fitting.sort(key=lambda own: "any" in own.row.topics)
        name = said(site.title, language)
        return [_filled(draft, "{t}", name, language) for draft in _said(fitting, language)]

    def follow_on(self, headline: str, language: Language) -> list[Draft]:
        """What can be asked of anything: the slot in their prompts takes the user's own words."""
        if not 2 <= len(headline) <= _LONGEST_SLOT:
            return []
        slots = _said(self._with_slot, language)
        return [_filled(slot, "{q}", headline, language) for slot in slots]

    def help(self, language: Language) -> list[Draft]:
        """The intents approved for someone in danger."""
        return _said(self._of_help, language)

    def starters(self, surface: str, hour: int, language: Language) -> list[Draft]:
        """Intents that need no context, those for this hour first."""
        fitting = [o for o in self._in_turn if surface in o.row.surfaces and o.row.fits(hour)]
        return _said(fitting, language)

    def named(self, keys: Iterable[str], language: Language) -> list[Draft]:
        """The intents of these keys, in this order."""
        known = {own.row.key: own for own in self._plain}
        return _said([known[key] for key in keys if key in known], language)


def _drafts(row: ChipRow) -> Mapping[Language, _Intent]:
    return {
        tongue: _Intent(
            said(row.text, tongue), said(row.prompt, tongue), row.kind, row.icon, tongue
        )
        for tongue in LANGUAGES
    }


def _said(rows: Iterable[_Row], language: Language) -> list[Draft]:
    return [own.drafts[language] for own in rows]


def _filled(draft: Draft, slot: str, words: str, language: Language) -> Draft:
    """The draft with its slot taken; Korean particles follow what stands there now."""
    text, prompt = draft.text.replace(slot, words), draft.prompt.replace(slot, words)
    if language == "ko":
        text, prompt = with_particles(text), with_particles(prompt)
    # It has words of a context in it now, so it is none of the bank's.
    return Draft(text, prompt, draft.kind, draft.icon)


def show(drafts: Iterable[Draft], ask: Ask, taken: Sequence[Chip] = ()) -> list[Chip]:
    """Add chips to `taken` until there are enough: valid, no echoes, no twins, mixed kinds."""
    chips = list(taken)
    if len(chips) == ask.chip_limit:
        return chips
    kinds = Counter(chip.kind for chip in chips)
    known, heard = [bigrams(chip.text) for chip in chips], [bigrams(text) for text in ask.said]
    # What costs least is looked at first: most drafts are passed over for what is shown already.
    for draft in drafts:
        if len(chips) == ask.chip_limit:
            break
        if _is_crowded(draft, kinds, ask):
            continue
        look = draft.look if isinstance(draft, _Intent) else _Look(draft, ask.language)
        unwanted = look.id in ask.exclude or draft.text in ask.exclude
        if unwanted or any(similar(look.bigrams, other) for other in known):
            continue
        if echoes(look.bigrams, heard) or not _is_valid(draft, look, ask):
            continue
        kinds[draft.kind] += 1
        known.append(look.bigrams)
        place = (ask.action, draft.kind, draft.icon, ask.language, len(chips) + 1)
        chips.append(Chip(look.id, draft.text, draft.prompt, *place))
    return chips


def _is_crowded(draft: Draft, kinds: Counter[str], ask: Ask) -> bool:
    """Whether its kind is not asked for, or where none is, there are enough of it."""
    if ask.chip_kinds:
        return draft.kind not in ask.chip_kinds
    return kinds[draft.kind] >= _MOST_OF_A_KIND


def _is_valid(draft: Draft, look: _Look, ask: Ask) -> bool:
    if look.is_harmful:
        return False
    if ask.orders and tainted(f"{draft.text} {draft.prompt}", ask.orders, ask.topic):
        return False
    return _is_sound(draft, ask) or not refusal(draft.text, ask.language, ask.chip_chars, ask.topic)


def _is_sound(draft: Draft, ask: Ask) -> bool:
    """Whether it is known already that nothing is against a label."""
    if not isinstance(draft, _Intent) or draft.length is None:
        return False
    return draft.length <= ask.chip_chars


def _fields(row: ChipRow) -> list[tuple[str, int]]:
    weighed = ((row.tags, 2), (row.text, 1), (row.prompt, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighed]


def _passage(row: ChipRow) -> str:
    return f"{said(row.prompt, 'ko')} {said(row.tags, 'ko')}"
