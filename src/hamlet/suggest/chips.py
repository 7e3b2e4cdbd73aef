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
from hamlet.suggest.model import Ask, Chip
from hamlet.suggest.validate import echoes, refusal, similar

# Below this share of a perfect match an intent is noise: see docs/adr/0006.
_GATE = 0.18
_MOST_OF_A_KIND = 2
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
        self._index = Index(_fields(intent) for intent in self._intents)

    def related(self, text: str) -> list[Intent]:
        """Intents about `text`, best first. Crisis intents are never found by words."""
        hits = self._index.search(text, 30, _GATE)
        found = [self._intents[hit.position] for hit in hits]
        return [intent for intent in found if "crisis" not in intent.topics]

    def about(self, topic: str) -> list[Intent]:
        """All intents of a topic."""
        return [intent for intent in self._intents if topic in intent.topics]

    def starters(self, surface: str, hour: int) -> list[Intent]:
        """Intents that need no context, those for this hour first."""
        fitting = [i for i in self._intents if surface in i.surfaces and i.fits(hour)]
        return sorted(fitting, key=lambda i: (i.hours is None, i.kind != "starter"))


def show(intents: Iterable[Intent], ask: Ask, taken: Sequence[Chip] = ()) -> list[Chip]:
    """Add chips to `taken` until there are enough: valid, no echoes, no twins, mixed kinds."""
    chips = list(taken)
    kinds = Counter(chip.kind for chip in chips)
    for chip in _candidates(intents, ask):
        if len(chips) == ask.chip_limit:
            break
        crowded = kinds[chip.kind] >= _MOST_OF_A_KIND and not ask.chip_kinds
        if crowded or any(similar(chip.text, other.text) for other in chips):
            continue
        kinds[chip.kind] += 1
        chips.append(replace(chip, position=len(chips) + 1))
    return chips


def _candidates(intents: Iterable[Intent], ask: Ask) -> Iterator[Chip]:
    for intent in intents:
        if ask.chip_kinds and intent.kind not in ask.chip_kinds:
            continue
        text, prompt = intent.text[ask.language], intent.prompt[ask.language]
        id_ = chip_id(ask.language, prompt)
        unwanted = id_ in ask.exclude or text in ask.exclude or echoes(text, ask.said)
        if unwanted or refusal(text, ask.language, ask.chip_chars):
            continue
        yield Chip(id_, text, prompt, ask.action, intent.kind, intent.icon, ask.language, 0)


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
