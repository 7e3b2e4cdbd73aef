"""The chips half: the bank in hand, a model raced against the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hamlet.core.text import normalize
from hamlet.suggest.cached_fetch import CachedFetch
from hamlet.suggest.chips import bank as chips_
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.validation import has_pii, is_grounded, term_set
from hamlet.suggest.chips.writer import DraftWriter
from hamlet.suggest.content import Pin
from hamlet.suggest.model import Chip, Chips, ChipTier, Degradation, Draft, Links, SuggestRequest
from hamlet.suggest.section_result import SectionResult, section_status
from hamlet.suggest.swr_cache import SwrCache

_GREETINGS = frozenset(
    {"안녕", "안녕하세요", "하이", "고마워", "감사합니다", "hi", "hello", "hey", "thanks"}
    | {"thank you", "good morning", "こんにちは", "こんばんは", "おはよう", "ありがとう"}
)
KeyHasher = Callable[..., str]


class ChipSuggester:
    """Makes chips. `bank` is the one in use."""

    def __init__(
        self,
        bank: ChipBank,
        writer: DraftWriter | None,
        cache: SwrCache[Draft],
        hash_key: KeyHasher,
        explorer: Explorer | None = None,
    ) -> None:
        self.bank = bank
        self._writer = writer
        self.cache = cache
        self._hash_key = hash_key
        self._explorer = explorer

    async def local(
        self, ask: SuggestRequest, is_crisis: bool, pin: Pin | None
    ) -> SectionResult[Chips]:
        """What there is without asking anyone."""
        if is_crisis:
            return _chip_result(
                chips_.select_chips(self.bank.crisis_drafts(ask.language), ask), ask, "embedded"
            )
        if not ask.allow.embedded:
            return SectionResult(Chips("empty", "embedded"))
        first = self.bank.find_by_keys(pin.chips, ask.language) if pin else []
        related = await self._related_drafts(ask)
        shown = chips_.select_chips([*first, *related], ask)
        tier: ChipTier = "pinned" if first else "embedded" if shown else "starter"
        if len(shown) < ask.chip_limit:
            shown = chips_.select_chips(
                await self._interest_drafts(ask) + self._starter_drafts(ask), ask, shown
            )
        return self._with_exploration(shown, related, ask, tier)

    def start_fetch(self, ask: SuggestRequest, is_crisis: bool) -> CachedFetch[Draft] | None:
        """The model's drafts for this context: had, on their way, or begun now."""
        writer = self._writer
        if writer is None or not ask.allow.llm or is_crisis:
            return None
        if not _is_substantive(ask) or has_pii(ask.context_text):
            return None
        fetch = lambda drafts: writer.write(ask, drafts)  # noqa: E731
        return CachedFetch.start(
            self.cache, "c:" + self._cache_key(ask), fetch, allow_stale=ask.allow.stale
        )

    def is_shed(self, ask: SuggestRequest, is_crisis: bool) -> bool:
        """Whether a model would have been asked, were there room."""
        return (
            ask.overloaded and self._writer is not None and not is_crisis and _is_substantive(ask)
        )

    def from_cache(
        self, ask: SuggestRequest, fetch: CachedFetch[Draft]
    ) -> SectionResult[Chips] | None:
        """The fresh cache's chips, if they are all that was asked for, and none is to be tried."""
        if not fetch.is_hit or self._explorer is not None:
            return None
        shown = chips_.select_chips(_grounded_drafts(fetch.items, ask), ask)
        if len(shown) < ask.chip_limit:
            return None
        return replace(_chip_result(shown, ask, fetch.tier("llm")), cache=fetch.cache_state())

    async def merged(
        self,
        ask: SuggestRequest,
        local_result: SectionResult[Chips],
        fetch: CachedFetch[Draft],
        pin: Pin | None = None,
    ) -> SectionResult[Chips]:
        """The model's chips, what is pinned before them, filled up from below; or those below."""
        written = _grounded_drafts(fetch.items, ask)
        assert local_result.section is not None, "the half was asked for"
        shown = chips_.select_chips(written, ask)
        if not shown:
            missed = Degradation("chips", "llm", local_result.section.tier, fetch.miss_reason())
            return replace(local_result, degradations=(missed,), cache=fetch.cache_state())
        first = self.bank.find_by_keys(pin.chips, ask.language) if pin else []
        lower_tier = [Draft(c.text, c.prompt, c.kind, c.icon) for c in local_result.section.items]
        if self._explorer is not None and ask.allow.embedded:
            lower_tier += await self._related_drafts(ask)
        if first:
            shown = chips_.select_chips([*first, *written], ask)
        shown = chips_.select_chips(lower_tier, ask, shown)
        if len(shown) < ask.chip_limit and ask.allow.embedded:
            shown = chips_.select_chips(self._starter_drafts(ask), ask, shown)
        tier: ChipTier = "pinned" if first else fetch.tier("llm")
        result = self._with_exploration(shown, written + lower_tier, ask, tier)
        return replace(result, cache=fetch.cache_state())

    def _with_exploration(
        self, chips: list[Chip], candidates: list[Draft], ask: SuggestRequest, tier: ChipTier
    ) -> SectionResult[Chips]:
        """The chips, one of them perhaps swapped for one that is to be tried out."""
        result = _chip_result(chips, ask, tier)
        if self._explorer is None or len(chips) < ask.chip_limit:
            return result
        wider = chips_.select_chips(candidates, replace(ask, chip_limit=ask.chip_limit + 4), chips)
        tried, propensity = self._explorer.fill_last_slot(wider, ask.chip_limit)
        return replace(_chip_result(tried, ask, tier), propensity=propensity)

    async def _related_drafts(self, ask: SuggestRequest) -> list[Draft]:
        if not _is_substantive(ask):
            return []
        within_s = ask.budget_ms / 1000
        found = self.bank.site_drafts(ask.context_text, ask.language)
        for text in ask.search_texts:
            found += await self.bank.find_related(text, ask.language, within_s)
        may_quote = not has_pii(ask.search_query)
        return found + (self.bank.follow_ups(ask.search_query, ask.language) if may_quote else [])

    async def _interest_drafts(self, ask: SuggestRequest) -> list[Draft]:
        """One intent for each of the first interests."""
        found = [await self.bank.find_related(one, ask.language) for one in ask.interests[:2]]
        return [drafts[0] for drafts in found if drafts]

    def _starter_drafts(self, ask: SuggestRequest) -> list[Draft]:
        surface = "home" if ask.surface == "search" else ask.surface
        starters = self.bank.starters(surface, ask.hour, ask.language)
        return starters + self.bank.starters("home", ask.hour, ask.language)

    def _cache_key(self, ask: SuggestRequest) -> str:
        user_turns = [m.content for m in ask.messages if m.role == "user"][-1:]
        answers = [m.content[:200] for m in ask.messages if m.role == "assistant"][-1:]
        page = (ask.page_title, ask.page_text)
        return self._hash_key(
            ask.language, ask.surface, ask.query, ask.draft, *user_turns, *answers, *page
        )


def with_grounding(
    result: SectionResult[Chips], links: Links | None, ask: SuggestRequest
) -> SectionResult[Chips]:
    """Each chip with the links that share a word of the context with it."""
    if result.section is None or links is None or not ask.context_text:
        return result
    about = term_set(ask.context_text)
    link_terms = [
        (link.id, about & term_set(f"{link.title} {link.snippet}")) for link in links.items
    ]

    def ground(chip: Chip) -> Chip:
        shared = about & term_set(f"{chip.text} {chip.prompt}")
        return replace(chip, grounding=tuple(id_ for id_, found in link_terms if shared & found))

    items = tuple(ground(chip) for chip in result.section.items)
    return replace(result, section=replace(result.section, items=items))


def _grounded_drafts(drafts: Iterable[Draft], ask: SuggestRequest) -> list[Draft]:
    about = term_set(ask.context_text)
    return [draft for draft in drafts if is_grounded(f"{draft.text} {draft.prompt}", about)]


def _chip_result(
    chips: Iterable[Chip], ask: SuggestRequest, tier: ChipTier
) -> SectionResult[Chips]:
    items = tuple(chips)
    return SectionResult(Chips(section_status(len(items), ask.chip_limit), tier, items))


def _is_substantive(ask: SuggestRequest) -> bool:
    """Whether there is something to go on; a greeting is not, whatever was answered to it."""
    headline = normalize(ask.search_query).strip(" .!~?。！？")
    return len(headline) >= 2 and headline not in _GREETINGS
