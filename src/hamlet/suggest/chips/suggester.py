"""The chips section: from the bank at once, and from a model within the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hamlet.core.text import normalize
from hamlet.suggest.cache import CachedFetch, KeyHasher, SwrCache
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.selection import select_chips
from hamlet.suggest.chips.writer import DraftWriter
from hamlet.suggest.content import Pin
from hamlet.suggest.model import Chip, Chips, ChipTier, Degradation, Draft, Links, SuggestRequest
from hamlet.suggest.safety import has_pii
from hamlet.suggest.section_result import SectionResult, section_status
from hamlet.suggest.similarity import is_grounded, term_set

_GREETINGS = frozenset(
    {"안녕", "안녕하세요", "하이", "고마워", "감사합니다", "hi", "hello", "hey", "thanks"}
    | {"thank you", "good morning", "こんにちは", "こんばんは", "おはよう", "ありがとう"}
)


class ChipSuggester:
    """Finds chips in the bank, and has a model write them."""

    def __init__(
        self,
        bank: Callable[[], ChipBank],
        writer: DraftWriter | None,
        cache: SwrCache[Draft],
        hash_key: KeyHasher,
        explorer: Explorer | None = None,
    ) -> None:
        """`bank` returns the one in use. Without a writer there are no chips of a model."""
        self._bank = bank
        self._writer = writer
        self.cache = cache
        self._hash_key = hash_key
        self._explorer = explorer

    async def local(
        self, request: SuggestRequest, is_crisis: bool, pin: Pin | None
    ) -> SectionResult[Chips]:
        """The chips of the bank, which need no model."""
        if is_crisis:
            return _chip_result(
                select_chips(self._bank().crisis_drafts(request.language), request),
                request,
                "embedded",
            )
        if not request.allow.embedded:
            return SectionResult(Chips("empty", "embedded"))
        first = self._bank().find_by_keys(pin.chips, request.language) if pin else []
        related = await self._related_drafts(request)
        shown = select_chips([*first, *related], request)
        tier: ChipTier = "pinned" if first else "embedded" if shown else "starter"
        if len(shown) < request.chip_limit:
            shown = select_chips(
                await self._interest_drafts(request) + self._starter_drafts(request), request, shown
            )
        return self._with_exploration(shown, related, request, tier)

    def start_fetch(self, request: SuggestRequest, is_crisis: bool) -> CachedFetch[Draft] | None:
        """The drafts for this context, cached or being written; None if no model is called."""
        writer = self._writer
        if writer is None or not request.allow.llm or is_crisis:
            return None
        if not _is_substantive(request) or has_pii(request.context_text):
            return None
        fetch = lambda drafts: writer.write(request, drafts)  # noqa: E731
        return CachedFetch.start(
            self.cache, "c:" + self._cache_key(request), fetch, allow_stale=request.allow.stale
        )

    def is_shed(self, request: SuggestRequest, is_crisis: bool) -> bool:
        """Whether the model is not called only because hamlet is overloaded."""
        return (
            request.overloaded
            and self._writer is not None
            and not is_crisis
            and _is_substantive(request)
        )

    def from_cache(
        self, request: SuggestRequest, fetch: CachedFetch[Draft]
    ) -> SectionResult[Chips] | None:
        """The chips of a fresh entry, if they fill the section and none is to be explored."""
        if not fetch.is_hit or self._explorer is not None:
            return None
        shown = select_chips(_grounded_drafts(fetch.items, request), request)
        if len(shown) < request.chip_limit:
            return None
        return replace(_chip_result(shown, request, fetch.tier("llm")), cache=fetch.cache_state())

    async def merged(
        self,
        request: SuggestRequest,
        local_result: SectionResult[Chips],
        fetch: CachedFetch[Draft],
        pin: Pin | None = None,
    ) -> SectionResult[Chips]:
        """The pinned and the model's chips, completed from `local_result`; or that one alone."""
        written = _grounded_drafts(fetch.items, request)
        assert local_result.section is not None, "the section was requested"
        shown = select_chips(written, request)
        if not shown:
            missed = Degradation("chips", "llm", local_result.section.tier, fetch.miss_reason())
            return replace(local_result, degradations=(missed,), cache=fetch.cache_state())
        first = self._bank().find_by_keys(pin.chips, request.language) if pin else []
        lower_drafts = [Draft(c.text, c.prompt, c.kind, c.icon) for c in local_result.section.items]
        if self._explorer is not None and request.allow.embedded:
            lower_drafts += await self._related_drafts(request)
        if first:
            shown = select_chips([*first, *written], request)
        shown = select_chips(lower_drafts, request, shown)
        if len(shown) < request.chip_limit and request.allow.embedded:
            shown = select_chips(self._starter_drafts(request), request, shown)
        tier: ChipTier = "pinned" if first else fetch.tier("llm")
        result = self._with_exploration(shown, written + lower_drafts, request, tier)
        return replace(result, cache=fetch.cache_state())

    def _with_exploration(
        self, chips: list[Chip], candidates: list[Draft], request: SuggestRequest, tier: ChipTier
    ) -> SectionResult[Chips]:
        """The chips; with an explorer, the last one is drawn from the candidates for its slot."""
        result = _chip_result(chips, request, tier)
        if self._explorer is None or len(chips) < request.chip_limit:
            return result
        wider = select_chips(candidates, replace(request, chip_limit=request.chip_limit + 4), chips)
        explored, propensity = self._explorer.fill_last_slot(wider, request.chip_limit)
        return replace(_chip_result(explored, request, tier), propensity=propensity)

    async def _related_drafts(self, request: SuggestRequest) -> list[Draft]:
        if not _is_substantive(request):
            return []
        bank, within_s = self._bank(), request.budget_ms / 1000
        found = bank.site_drafts(request.context_text, request.language)
        for text in request.search_texts:
            found += await bank.find_related(text, request.language, within_s)
        headline = request.search_query
        return found if has_pii(headline) else found + bank.follow_ups(headline, request.language)

    async def _interest_drafts(self, request: SuggestRequest) -> list[Draft]:
        """One intent for each of the first two interests."""
        bank, language = self._bank(), request.language
        found = [await bank.find_related(each, language) for each in request.interests[:2]]
        return [drafts[0] for drafts in found if drafts]

    def _starter_drafts(self, request: SuggestRequest) -> list[Draft]:
        surface = "home" if request.surface == "search" else request.surface
        bank, hour, language = self._bank(), request.hour, request.language
        return bank.starters(surface, hour, language) + bank.starters("home", hour, language)

    def _cache_key(self, request: SuggestRequest) -> str:
        user_turns = [m.content for m in request.messages if m.role == "user"][-1:]
        answers = [m.content[:200] for m in request.messages if m.role == "assistant"][-1:]
        page = (request.page_title, request.page_text)
        return self._hash_key(
            request.language,
            request.surface,
            request.query,
            request.draft,
            *user_turns,
            *answers,
            *page,
        )


def with_grounding(
    result: SectionResult[Chips], links: Links | None, request: SuggestRequest
) -> SectionResult[Chips]:
    """Each chip with the ids of the links that share a term of the context with it."""
    if result.section is None or links is None or not request.context_text:
        return result
    about = term_set(request.context_text)
    link_terms = [
        (link.id, about & term_set(f"{link.title} {link.snippet}")) for link in links.items
    ]

    def ground(chip: Chip) -> Chip:
        shared = about & term_set(f"{chip.text} {chip.prompt}")
        return replace(chip, grounding=tuple(id_ for id_, found in link_terms if shared & found))

    items = tuple(ground(chip) for chip in result.section.items)
    return replace(result, section=replace(result.section, items=items))


def _grounded_drafts(drafts: Iterable[Draft], request: SuggestRequest) -> list[Draft]:
    about = term_set(request.context_text)
    return [draft for draft in drafts if is_grounded(f"{draft.text} {draft.prompt}", about)]


def _chip_result(
    chips: Iterable[Chip], request: SuggestRequest, tier: ChipTier
) -> SectionResult[Chips]:
    items = tuple(chips)
    return SectionResult(Chips(section_status(len(items), request.chip_limit), tier, items))


def _is_substantive(request: SuggestRequest) -> bool:
    """Whether the user wrote something to make suggestions for, more than a greeting."""
    headline = normalize(request.search_query).strip(" .!~?。！？")
    return len(headline) >= 2 and headline not in _GREETINGS
