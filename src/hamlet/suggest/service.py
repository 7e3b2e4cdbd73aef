"""Suggest for a context: an answer in hand at once, a better one if it comes in time."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hamlet.core.text import normalize
from hamlet.spi.sources import SupportsSearch
from hamlet.suggest.cached_fetch import CachedFetch
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.suggester import ChipSuggester, with_grounding
from hamlet.suggest.content import Pin, find_pin
from hamlet.suggest.item_tokens import TokenSigner, with_tokens
from hamlet.suggest.links.suggester import LinkSuggester
from hamlet.suggest.model import (
    Cache,
    Chips,
    Degradation,
    Links,
    Suggestions,
    SuggestRequest,
    Timing,
)
from hamlet.suggest.response_cache import ResponseCache, to_results
from hamlet.suggest.safety import mentions_crisis, strip_injections
from hamlet.suggest.section_result import SectionResult

# Kept back from the budget for choosing, encoding and sending.
_RESERVE_S, _RESERVE_SHARE = 0.015, 0.03


class SuggestService:
    """Answers every valid ask with something to tap, within its budget."""

    def __init__(
        self,
        links: LinkSuggester,
        chips: ChipSuggester,
        signer: TokenSigner,
        pins: Sequence[Pin] = (),
        on_suggestions: Callable[[Suggestions], None] = lambda _: None,
    ) -> None:
        """`heard` is told of each whole answer."""
        self._on_suggestions = on_suggestions
        self._links = links
        self._chips = chips
        self._signer = signer
        self._pins = pins
        self._response_cache = ResponseCache()
        links.cache.on_evict = chips.cache.on_evict = self._response_cache.invalidate

    def set_content(self, catalogue: SupportsSearch, bank: ChipBank, pins: Sequence[Pin]) -> None:
        """Answer from this content from now on."""
        self._links.catalogue, self._chips.bank, self._pins = catalogue, bank, pins
        self._response_cache.clear()

    async def purge(self) -> None:
        """Forget what web and models gave."""
        self._response_cache.clear()
        await self._links.cache.clear()
        await self._chips.cache.clear()

    async def suggest(self, ask: SuggestRequest) -> Suggestions:
        """The best there is when the budget ends, or sooner if no better can come."""
        shown = [revision async for revision in self.revisions(ask)]
        return shown[-1]

    async def revisions(self, ask: SuggestRequest) -> AsyncIterator[Suggestions]:
        """One answer at once, and a better one if it comes in time."""
        start = time.perf_counter()
        id_ = f"sg_{secrets.token_hex(10)}"
        ask = strip_injections(ask)
        is_crisis = mentions_crisis(" ".join(ask.user_texts))
        link_fetch = self._links.start_fetch(ask, is_crisis) if ask.want_links else None
        chip_fetch = self._chips.start_fetch(ask, is_crisis) if ask.want_chips else None
        pin = find_pin(self._pins, ask.language, ask.surface, ask.query)
        response_key = None if pin else self._response_cache.make_key(ask, link_fetch, chip_fetch)

        def build(
            links: SectionResult[Links], chips: SectionResult[Chips], links_ms: float
        ) -> Suggestions:
            total = _elapsed_ms(start)
            timing = Timing(ask.budget_ms, total, links_ms, round(total - links_ms, 2))
            return _build_suggestions(id_, ask, links, chips, timing, self._signer)

        if sections := self._response_cache.get(response_key):
            last = build(*to_results(sections, link_fetch, chip_fetch), _elapsed_ms(start))
            self._on_suggestions(last)
            yield last
            return
        if _running_tasks(link_fetch, chip_fetch):
            # Web and model are asked before the time goes by that the own answer takes: a turn for
            # the gathering to begin, and one for those it asks.
            for _ in range(2):
                await asyncio.sleep(0)
        # What is whole in the cache is the answer; else what is in hand, and what comes.
        cached_links = self._links.from_cache(ask, link_fetch) if link_fetch and not pin else None
        links = cached_links or await self._local_links(ask, is_crisis, pin)
        links_ms = _elapsed_ms(start)
        cached_chips = self._chips.from_cache(ask, chip_fetch) if chip_fetch and not pin else None
        chips = cached_chips or await self._local_chips(ask, is_crisis, pin)
        if tasks := _running_tasks(link_fetch, chip_fetch):
            yield build(links, with_grounding(chips, links.section, ask), links_ms)
            wait_s = _wait_budget_s(ask.budget_ms / 1000) - (time.perf_counter() - start)
            if wait_s > 0:
                await asyncio.wait(tasks, timeout=wait_s)
        if link_fetch and not cached_links and links.section is not None:
            links = self._links.merged(ask, links.section, link_fetch)
        if chip_fetch and not cached_chips and chips.section is not None:
            chips = await self._chips.merged(ask, chips, chip_fetch, pin)
        chips = with_grounding(chips, links.section, ask)
        if (
            response_key
            and bool(cached_links) == ask.want_links
            and bool(cached_chips) == ask.want_chips
        ):
            self._response_cache.put(response_key, links.section, chips.section)
        last = build(links, chips, links_ms)
        self._on_suggestions(last)
        yield last

    async def _local_links(
        self, ask: SuggestRequest, is_crisis: bool, pin: Pin | None
    ) -> SectionResult[Links]:
        if not ask.want_links:
            return SectionResult()
        section = await self._links.local(ask, is_crisis, pin)
        missed = Degradation("links", "web", section.tier, "overload")
        return SectionResult(section, (missed,) if self._links.is_shed(ask, is_crisis) else ())

    async def _local_chips(
        self, ask: SuggestRequest, is_crisis: bool, pin: Pin | None
    ) -> SectionResult[Chips]:
        if not ask.want_chips:
            return SectionResult()
        result = await self._chips.local(ask, is_crisis, pin)
        if result.section is None or not self._chips.is_shed(ask, is_crisis):
            return result
        missed = Degradation("chips", "llm", result.section.tier, "overload")
        return replace(result, degradations=(missed,))

    async def aclose(self) -> None:
        """Stop what is still under way."""
        await self._links.cache.aclose()
        await self._chips.cache.aclose()


def key_hasher(salt: bytes) -> Callable[..., str]:
    """Makes keys of texts: hashes with a salt, so that no text can be read off them."""

    def hash_parts(*parts: str) -> str:
        text = "\x1f".join(_normalize(part) if part else "" for part in parts)
        return hashlib.blake2b(text.encode(), key=salt[:64], digest_size=16).hexdigest()

    return hash_parts


def _normalize(text: str) -> str:
    """What texts that ask the same have in common."""
    return " ".join(normalize(text).split()).strip(" .?!。？！")


def _running_tasks(*fetches: CachedFetch[Any] | None) -> set[asyncio.Task[None]]:
    return {
        work.entry.task for work in fetches if work and work.entry.is_fetching and work.entry.task
    }


def _wait_budget_s(budget_s: float) -> float:
    return budget_s - max(_RESERVE_S, budget_s * _RESERVE_SHARE)


def _build_suggestions(
    id_: str,
    ask: SuggestRequest,
    links: SectionResult[Links],
    chips: SectionResult[Chips],
    timing: Timing,
    signer: TokenSigner,
) -> Suggestions:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    degradations = links.degradations + chips.degradations
    shown_links = links.section and with_tokens(
        links.section, "links", id_, signer, links.propensity
    )
    shown_chips = chips.section and with_tokens(
        chips.section, "chips", id_, signer, chips.propensity
    )
    return Suggestions(
        id=id_,
        created=now,
        lang=ask.language,
        surface=ask.surface,
        links=shown_links,
        chips=shown_chips,
        timing=timing,
        degraded=bool(degradations),
        degradations=degradations,
        cache=Cache(links.cache, chips.cache),
        warnings=ask.warnings,
    )


def _elapsed_ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 2)
