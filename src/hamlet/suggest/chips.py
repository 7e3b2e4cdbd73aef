"""Chips without a model: a bank of written intents, found by context, filled up with starters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import resources

import msgspec

from hamlet.core.text import Language
from hamlet.retrieval import Index
from hamlet.suggest.ids import chip_id
from hamlet.suggest.model import Ask, Chip, Draft
from hamlet.suggest.validate import echoes, refusal, similar, unsafe

# Below this share of a perfect match an intent is noise: see docs/adr/0006.
_GATE, _TAIL = 0.18, 0.4
_MOST_OF_A_KIND = 2
CRISIS, _SLOT = "crisis", "slot"
_LONGEST_SLOT = 80
_LANGUAGES: tuple[Language, ...] = ("ko", "en", "ja")


class Intent(msgspec.Struct, frozen=True):
    """One line of the bank: label, prompt and tags per language."""

    id: str
    kind: str
    topics: list[str]
    icon: str
    surfaces: list[str]
    text: dict[str, str]
    prompt: dict[str, str]
    tags: dict[str, str]
    hours: tuple[int, int] | None = None

    def draft(self, language: Language) -> Draft:
        """The intent in one language."""
        return Draft(self.text[language], self.prompt[language], self.kind, self.icon)

    def fits(self, hour: int) -> bool:
        """Whether it suits this hour of the day; a span may pass midnight."""
        if self.hours is None:
            return True
        start, end = self.hours
        return start <= hour <= end if start <= end else hour >= start or hour <= end


class ChipBank:
    """The written intents."""

    def __init__(self, intents: Sequence[Intent] | None = None) -> None:
        self._intents = list(intents) if intents is not None else shipped()
        plain = [i for i in self._intents if not {CRISIS, _SLOT} & set(i.topics)]
        self._plain = plain
        self._index = Index(_fields(intent) for intent in plain)

    def related(self, text: str, language: Language) -> list[Draft]:
        """Intents about `text`, best first."""
        hits = self._index.search(text, 30, _GATE)
        best = hits[0].share if hits else 0.0
        # A weak tail beside a strong head is noise too.
        kept = [hit for hit in hits if hit.share >= best * _TAIL]
        return [self._plain[hit.position].draft(language) for hit in kept]

    def follow_on(self, headline: str, language: Language) -> list[Draft]:
        """What can be asked of anything: the slot in their prompts takes the user's own words."""
        if not 2 <= len(headline) <= _LONGEST_SLOT:
            return []
        slots = [i.draft(language) for i in self._intents if _SLOT in i.topics]
        return [replace(s, prompt=s.prompt.replace("{q}", headline)) for s in slots]

    def help(self, language: Language) -> list[Draft]:
        """The intents approved for someone in danger."""
        return [i.draft(language) for i in self._intents if CRISIS in i.topics]

    def starters(self, surface: str, hour: int, language: Language) -> list[Draft]:
        """Intents that need no context, those for this hour first."""
        fitting = [i for i in self._plain if surface in i.surfaces and i.fits(hour)]
        fitting.sort(key=lambda i: (i.hours is None, i.kind != "starter"))
        return [intent.draft(language) for intent in fitting]


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
    for draft in drafts:
        if ask.chip_kinds and draft.kind not in ask.chip_kinds:
            continue
        text, prompt = draft.text, draft.prompt
        id_ = chip_id(ask.language, prompt)
        unwanted = id_ in ask.exclude or text in ask.exclude or echoes(text, ask.said)
        if unwanted or refusal(text, ask.language, ask.chip_chars) or unsafe(prompt):
            continue
        yield Chip(id_, text, prompt, ask.action, draft.kind, draft.icon, ask.language, 0)


def shipped() -> list[Intent]:
    """The intents in the wheel."""
    file = resources.files("hamlet.suggest").joinpath("data/chips.jsonl")
    return msgspec.json.Decoder(Intent).decode_lines(file.read_bytes())


def _fields(intent: Intent) -> list[tuple[str, int]]:
    return [
        field
        for language in _LANGUAGES
        for field in (
            (intent.tags[language], 2),
            (intent.text[language], 1),
            (intent.prompt[language], 1),
        )
    ]
