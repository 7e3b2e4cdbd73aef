"""The chips half: the bank in hand, a model raced against the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hamlet.core.text import normal
from hamlet.suggest.cached_fetch import Work
from hamlet.suggest.chips import bank as chips_
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.validation import grounded, has_pii, terms
from hamlet.suggest.chips.writer import Writes
from hamlet.suggest.content import Pin
from hamlet.suggest.model import Ask, Chip, Chips, ChipTier, Degradation, Draft, Links
from hamlet.suggest.outcome import Outcome, status
from hamlet.suggest.swr_cache import Pool

_GREETINGS = frozenset(
    {"안녕", "안녕하세요", "하이", "고마워", "감사합니다", "hi", "hello", "hey", "thanks"}
    | {"thank you", "good morning", "こんにちは", "こんばんは", "おはよう", "ありがとう"}
)
Digest = Callable[..., str]


class DynamicChips:
    """Makes chips. `bank` is the one in use."""

    def __init__(
        self,
        bank: ChipBank,
        writer: Writes | None,
        pool: Pool[Draft],
        digest: Digest,
        explorer: Explorer | None = None,
    ) -> None:
        self.bank = bank
        self._writer = writer
        self.pool = pool
        self._digest = digest
        self._explorer = explorer

    async def in_hand(self, ask: Ask, crisis: bool, pin: Pin | None) -> Outcome[Chips]:
        """What there is without asking anyone."""
        if crisis:
            return _outcome(chips_.show(self.bank.help(ask.language), ask), ask, "embedded")
        if not ask.allow.embedded:
            return Outcome(Chips("empty", "embedded"))
        first = self.bank.named(pin.chips, ask.language) if pin else []
        related = await self._related(ask)
        shown = chips_.show([*first, *related], ask)
        tier: ChipTier = "pinned" if first else "embedded" if shown else "starter"
        if len(shown) < ask.chip_limit:
            shown = chips_.show(await self._liked(ask) + self._starters(ask), ask, shown)
        return self._chosen(shown, related, ask, tier)

    def begin(self, ask: Ask, crisis: bool) -> Work[Draft] | None:
        """The model's drafts for this context: had, on their way, or begun now."""
        writer = self._writer
        if writer is None or not ask.allow.llm or crisis:
            return None
        if not _substantive(ask) or has_pii(ask.topic):
            return None
        fill = lambda drafts: writer.write(ask, drafts)  # noqa: E731
        return Work.of(self.pool, "c:" + self._key(ask), fill, stale=ask.allow.stale)

    def would_ask(self, ask: Ask, crisis: bool) -> bool:
        """Whether a model would have been asked, were there room."""
        return ask.overloaded and self._writer is not None and not crisis and _substantive(ask)

    def kept(self, ask: Ask, work: Work[Draft]) -> Outcome[Chips] | None:
        """The fresh cache's chips, if they are all that was asked for, and none is to be tried."""
        if not work.had or self._explorer is not None:
            return None
        shown = chips_.show(_on_topic(work.usable, ask), ask)
        if len(shown) < ask.chip_limit:
            return None
        return replace(_outcome(shown, ask, work.tier("llm")), cache=work.state())

    async def better(
        self, ask: Ask, own: Outcome[Chips], work: Work[Draft], pin: Pin | None = None
    ) -> Outcome[Chips]:
        """The model's chips, what is pinned before them, filled up from below; or those below."""
        written = _on_topic(work.usable, ask)
        assert own.half is not None, "the half was asked for"
        shown = chips_.show(written, ask)
        if not shown:
            missed = Degradation("chips", "llm", own.half.tier, work.why_not())
            return replace(own, degradations=(missed,), cache=work.state())
        first = self.bank.named(pin.chips, ask.language) if pin else []
        below = [Draft(c.text, c.prompt, c.kind, c.icon) for c in own.half.items]
        if self._explorer is not None and ask.allow.embedded:
            below += await self._related(ask)
        if first:
            shown = chips_.show([*first, *written], ask)
        shown = chips_.show(below, ask, shown)
        if len(shown) < ask.chip_limit and ask.allow.embedded:
            shown = chips_.show(self._starters(ask), ask, shown)
        tier: ChipTier = "pinned" if first else work.tier("llm")
        made = self._chosen(shown, written + below, ask, tier)
        return replace(made, cache=work.state())

    def _chosen(
        self, chips: list[Chip], candidates: list[Draft], ask: Ask, tier: ChipTier
    ) -> Outcome[Chips]:
        """The chips, one of them perhaps swapped for one that is to be tried out."""
        made = _outcome(chips, ask, tier)
        if self._explorer is None or len(chips) < ask.chip_limit:
            return made
        wider = chips_.show(candidates, replace(ask, chip_limit=ask.chip_limit + 4), chips)
        tried, propensity = self._explorer.last_slot(wider, ask.chip_limit)
        return replace(_outcome(tried, ask, tier), propensity=propensity)

    async def _related(self, ask: Ask) -> list[Draft]:
        if not _substantive(ask):
            return []
        within_s = ask.budget_ms / 1000
        found = self.bank.about_site(ask.topic, ask.language)
        for text in ask.tellings:
            found += await self.bank.related(text, ask.language, within_s)
        own = not has_pii(ask.headline)
        return found + (self.bank.follow_on(ask.headline, ask.language) if own else [])

    async def _liked(self, ask: Ask) -> list[Draft]:
        """One intent for each of the first interests."""
        found = [await self.bank.related(one, ask.language) for one in ask.interests[:2]]
        return [drafts[0] for drafts in found if drafts]

    def _starters(self, ask: Ask) -> list[Draft]:
        surface = "home" if ask.surface == "search" else ask.surface
        own = self.bank.starters(surface, ask.hour, ask.language)
        return own + self.bank.starters("home", ask.hour, ask.language)

    def _key(self, ask: Ask) -> str:
        own = [m.content for m in ask.messages if m.role == "user"][-1:]
        answers = [m.content[:200] for m in ask.messages if m.role == "assistant"][-1:]
        page = (ask.page_title, ask.page_text)
        return self._digest(ask.language, ask.surface, ask.query, ask.draft, *own, *answers, *page)


def with_grounding(own: Outcome[Chips], links: Links | None, ask: Ask) -> Outcome[Chips]:
    """Each chip with the links that share a word of the context with it."""
    if own.half is None or links is None or not ask.topic:
        return own
    about = terms(ask.topic)
    theirs = [(link.id, about & terms(f"{link.title} {link.snippet}")) for link in links.items]

    def ground(chip: Chip) -> Chip:
        shared = about & terms(f"{chip.text} {chip.prompt}")
        return replace(chip, grounding=tuple(id_ for id_, found in theirs if shared & found))

    items = tuple(ground(chip) for chip in own.half.items)
    return replace(own, half=replace(own.half, items=items))


def _on_topic(drafts: Iterable[Draft], ask: Ask) -> list[Draft]:
    about = terms(ask.topic)
    return [draft for draft in drafts if grounded(f"{draft.text} {draft.prompt}", about)]


def _outcome(chips: Iterable[Chip], ask: Ask, tier: ChipTier) -> Outcome[Chips]:
    items = tuple(chips)
    return Outcome(Chips(status(len(items), ask.chip_limit), tier, items))


def _substantive(ask: Ask) -> bool:
    """Whether there is something to go on; a greeting is not, whatever was answered to it."""
    headline = normal(ask.headline).strip(" .!~?。！？")
    return len(headline) >= 2 and headline not in _GREETINGS
