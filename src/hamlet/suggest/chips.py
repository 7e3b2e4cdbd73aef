"""Chips without a model: a bank of written intents, found by context, filled up with starters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from hamlet.content import LANGUAGES, ChipRow, Content, load_content
from hamlet.content.rows import said
from hamlet.core.text import Language, with_particles
from hamlet.retrieval import Embedder, HybridIndex
from hamlet.suggest.entities import Entities
from hamlet.suggest.ids import chip_id
from hamlet.suggest.model import Ask, Chip, Draft
from hamlet.suggest.safety import in_crisis
from hamlet.suggest.validate import echoes, refusal, similar, tainted, unsafe

# Below this share of a perfect match an intent is noise: see docs/adr/0006.
_GATE, _TAIL = 0.18, 0.4
_MOST_OF_A_KIND = 2
CRISIS, _SLOT, _SITE = "crisis", "slot", "site"
_SPECIAL = {CRISIS, _SLOT, _SITE}
_LONGEST_SLOT = 80


class ChipBank:
    """The written intents of the packs, and templates for what a context names."""

    def __init__(self, content: Content | None = None) -> None:
        content = content or load_content()
        self._rows = content.chips
        self._plain = [row for row in self._rows if not _SPECIAL & set(row.topics)]
        self._entities = Entities(content.links)
        self._index = HybridIndex(map(_fields, self._plain), [_passage(row) for row in self._plain])

    def embed(self, embedder: Embedder) -> None:
        """Search by meaning too, from when this returns; takes seconds."""
        self._index.embed(embedder)

    async def related(self, text: str, language: Language, within_s: float = 10.0) -> list[Draft]:
        """Intents about `text`, best first."""
        hits = await self._index.search(text, 30, _GATE, within_s)
        best = hits[0].share if hits else 0.0
        # A weak tail beside a strong head is noise too.
        kept = [hit for hit in hits if hit.share >= best * _TAIL]
        return [_draft(self._plain[hit.position], language) for hit in kept]

    def about_site(self, text: str, language: Language) -> list[Draft]:
        """Templates of the topic of the site that `text` names, its name filled in."""
        site = self._entities.find(text)
        if site is None:
            return []
        topics = {*site.topics[:1], "any"}
        fitting = [r for r in self._rows if _SITE in r.topics and topics & set(r.topics)]
        # Those of its own topic come before those of any.
        fitting.sort(key=lambda row: "any" in row.topics)
        name = said(site.title, language)
        return [_filled(_draft(row, language), "{t}", name, language) for row in fitting]

    def follow_on(self, headline: str, language: Language) -> list[Draft]:
        """What can be asked of anything: the slot in their prompts takes the user's own words."""
        if not 2 <= len(headline) <= _LONGEST_SLOT:
            return []
        slots = [_draft(row, language) for row in self._rows if _SLOT in row.topics]
        return [_filled(slot, "{q}", headline, language) for slot in slots]

    def help(self, language: Language) -> list[Draft]:
        """The intents approved for someone in danger."""
        return [_draft(row, language) for row in self._rows if CRISIS in row.topics]

    def starters(self, surface: str, hour: int, language: Language) -> list[Draft]:
        """Intents that need no context, those for this hour first."""
        fitting = [row for row in self._plain if surface in row.surfaces and row.fits(hour)]
        fitting.sort(key=lambda row: (row.hours is None, row.kind != "starter"))
        return [_draft(row, language) for row in fitting]

    def named(self, keys: Iterable[str], language: Language) -> list[Draft]:
        """The intents of these keys, in this order."""
        known = {row.key: row for row in self._plain}
        return [_draft(known[key], language) for key in keys if key in known]


def _draft(row: ChipRow, language: Language) -> Draft:
    return Draft(said(row.text, language), said(row.prompt, language), row.kind, row.icon)


def _filled(draft: Draft, slot: str, words: str, language: Language) -> Draft:
    """The draft with its slot taken; Korean particles follow what stands there now."""
    text, prompt = draft.text.replace(slot, words), draft.prompt.replace(slot, words)
    if language == "ko":
        text, prompt = with_particles(text), with_particles(prompt)
    return replace(draft, text=text, prompt=prompt)


def show(drafts: Iterable[Draft], ask: Ask, taken: Sequence[Chip] = ()) -> list[Chip]:
    """Add chips to `taken` until there are enough: valid, no echoes, no twins, mixed kinds."""
    chips = list(taken)
    kinds = Counter(chip.kind for chip in chips)
    for chip in _candidates(drafts, ask):
        if len(chips) == ask.chip_limit:
            break
        crowded = kinds[chip.kind] >= _MOST_OF_A_KIND and not ask.chip_kinds
        if crowded or any(similar(chip.text, other.text) for other in chips):
            continue
        kinds[chip.kind] += 1
        chips.append(replace(chip, position=len(chips) + 1))
    return chips


def _candidates(drafts: Iterable[Draft], ask: Ask) -> Iterator[Chip]:
    topic, said_ = ask.topic, ask.said
    for draft in drafts:
        if ask.chip_kinds and draft.kind not in ask.chip_kinds:
            continue
        text, prompt = draft.text, draft.prompt
        id_ = chip_id(ask.language, prompt)
        unwanted = id_ in ask.exclude or text in ask.exclude or echoes(text, said_)
        if unwanted or unsafe(prompt) or in_crisis(f"{text} {prompt}"):
            continue
        if tainted(f"{text} {prompt}", ask.orders, topic):
            continue
        if refusal(text, ask.language, ask.chip_chars, topic):
            continue
        yield Chip(id_, text, prompt, ask.action, draft.kind, draft.icon, ask.language, 0)


def _fields(row: ChipRow) -> list[tuple[str, int]]:
    weighed = ((row.tags, 2), (row.text, 1), (row.prompt, 1))
    return [(texts.get(lang, ""), weight) for lang in LANGUAGES for texts, weight in weighed]


def _passage(row: ChipRow) -> str:
    return f"{said(row.prompt, 'ko')} {said(row.tags, 'ko')}"
