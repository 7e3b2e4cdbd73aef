"""Suggestions for a context: a response at once, and a better one within the budget."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hamlet.spi.sources import FoundLink
from hamlet.suggest.cache import CachedFetch, ResponseCache, ResponseKey, Sections
from hamlet.suggest.chips.suggester import ChipSuggester, with_grounding
from hamlet.suggest.content import Pin, find_pin
from hamlet.suggest.item_tokens import TokenSigner, with_tokens
from hamlet.suggest.links.suggester import LinkSuggester
from hamlet.suggest.model import (
    Cache,
    Chips,
    Degradation,
    Draft,
    Links,
    Suggestions,
    SuggestRequest,
    Timing,
)
from hamlet.suggest.safety import mentions_crisis, strip_injections
from hamlet.suggest.section_result import SectionResult
from hamlet.suggest.served_content import ContentHolder, ServedContent

# Reserved within the budget for selecting, encoding and sending.
_RESERVE_S, _RESERVE_SHARE = 0.015, 0.03


@dataclass(slots=True)
class _PreparedRequest:
    """A request without injections, and its fetches. `started_at` is a `perf_counter` time."""

    id: str
    started_at: float
    request: SuggestRequest
    is_crisis: bool
    pin: Pin | None
    link_fetch: CachedFetch[FoundLink] | None
    chip_fetch: CachedFetch[Draft] | None
    response_key: ResponseKey | None

    def running_tasks(self) -> set[asyncio.Task[None]]:
        """The fetches that may still improve the response."""
        fetches: tuple[CachedFetch[Any] | None, ...] = (self.link_fetch, self.chip_fetch)
        return {
            fetch.entry.task
            for fetch in fetches
            if fetch and fetch.entry.is_fetching and fetch.entry.task
        }

    def elapsed_ms(self) -> float:
        """Milliseconds since the request was prepared."""
        return round((time.perf_counter() - self.started_at) * 1000, 2)

    def remaining_s(self) -> float:
        """Seconds that may still be waited; negative if the budget is used up."""
        budget_s = self.request.budget_ms / 1000
        reserve_s = max(_RESERVE_S, budget_s * _RESERVE_SHARE)
        return budget_s - reserve_s - (time.perf_counter() - self.started_at)


@dataclass(slots=True)
class _Answer:
    """Both sections. Those from fresh cache entries are final, the others may be improved.

    Milliseconds count from the start of the request.
    """

    links: SectionResult[Links]
    chips: SectionResult[Chips]
    links_ms: float
    has_cached_links: bool = False
    has_cached_chips: bool = False


class SuggestService:
    """Answers every valid request within its budget."""

    def __init__(
        self,
        content: ContentHolder,
        links: LinkSuggester,
        chips: ChipSuggester,
        response_cache: ResponseCache,
        signer: TokenSigner,
        on_suggestions: Callable[[Suggestions], None] = lambda _: None,
    ) -> None:
        """`on_suggestions` receives the last revision of each response.

        The caches of `links` and `chips` must call `response_cache.invalidate` on eviction.
        """
        self._content = content
        self._links = links
        self._chips = chips
        self._response_cache = response_cache
        self._signer = signer
        self._on_suggestions = on_suggestions

    def set_content(self, content: ServedContent) -> None:
        """Serve this content from now on."""
        self._content.current = content
        self._response_cache.clear()

    async def purge(self) -> None:
        """Empty the caches of web results, drafts and responses."""
        self._response_cache.clear()
        await self._links.cache.clear()
        await self._chips.cache.clear()

    async def suggest(self, request: SuggestRequest) -> Suggestions:
        """The best response within the budget; sooner if no better one can follow."""
        shown = [revision async for revision in self.revisions(request)]
        return shown[-1]

    async def revisions(self, request: SuggestRequest) -> AsyncIterator[Suggestions]:
        """A response at once and, if fetches are running, a better one when the budget ends.

        The steps: prepare the request and start its fetches; answer at once, from fresh cache
        entries or locally; wait for the fetches; merge their items in, and respond. A request whose
        response is cached skips all but the first and the last.
        """
        prepared = self._prepare(request)
        if sections := self._response_cache.get(prepared.response_key):
            yield self._respond_last(prepared, _cached_answer(prepared, sections))
            return
        answer = await self._answer_at_once(prepared)
        if tasks := prepared.running_tasks():
            yield self._respond(prepared, answer)
            await _wait_for_fetches(prepared, tasks)
        await self._merge(prepared, answer)
        self._store_response(prepared, answer)
        yield self._respond_last(prepared, answer)

    def _prepare(self, request: SuggestRequest) -> _PreparedRequest:
        """Remove injections, and start or join the fetches before the local answer takes time."""
        started_at = time.perf_counter()
        request = strip_injections(request)
        is_crisis = mentions_crisis(" ".join(request.user_texts))
        link_fetch = self._links.start_fetch(request, is_crisis) if request.want_links else None
        chip_fetch = self._chips.start_fetch(request, is_crisis) if request.want_chips else None
        pins = self._content.current.pins
        pin = find_pin(pins, request.language, request.surface, request.query) if pins else None
        key = None if pin else self._response_cache.make_key(request, link_fetch, chip_fetch)
        id_ = f"sg_{secrets.token_hex(10)}"
        return _PreparedRequest(
            id_, started_at, request, is_crisis, pin, link_fetch, chip_fetch, key
        )

    async def _answer_at_once(self, prepared: _PreparedRequest) -> _Answer:
        """Each section from its fresh cache entry if that fills it, else from the content."""
        request = prepared.request
        if prepared.running_tasks():
            # One turn of the event loop for the fetches to start, one for the calls they make, so
            # that the upstreams work while the local answer is computed.
            for _ in range(2):
                await asyncio.sleep(0)
        cached_links, cached_chips = None, None
        if prepared.link_fetch and not prepared.pin:
            cached_links = self._links.from_cache(request, prepared.link_fetch)
        links = cached_links or await self._local_links(prepared)
        links_ms = prepared.elapsed_ms()
        if prepared.chip_fetch and not prepared.pin:
            cached_chips = self._chips.from_cache(request, prepared.chip_fetch)
        chips = cached_chips or await self._local_chips(prepared)
        chips = with_grounding(chips, links.section, request)
        return _Answer(links, chips, links_ms, bool(cached_links), bool(cached_chips))

    async def _local_links(self, prepared: _PreparedRequest) -> SectionResult[Links]:
        request, is_crisis = prepared.request, prepared.is_crisis
        if not request.want_links:
            return SectionResult()
        section = await self._links.local(request, is_crisis, prepared.pin)
        if not self._links.is_shed(request, is_crisis):
            return SectionResult(section)
        return SectionResult(section, (Degradation("links", "web", section.tier, "overload"),))

    async def _local_chips(self, prepared: _PreparedRequest) -> SectionResult[Chips]:
        request, is_crisis = prepared.request, prepared.is_crisis
        if not request.want_chips:
            return SectionResult()
        result = await self._chips.local(request, is_crisis, prepared.pin)
        if result.section is None or not self._chips.is_shed(request, is_crisis):
            return result
        shed = Degradation("chips", "llm", result.section.tier, "overload")
        return replace(result, degradations=(shed,))

    async def _merge(self, prepared: _PreparedRequest, answer: _Answer) -> None:
        """Put the fetched items into the sections that are not final yet."""
        request, links, chips = prepared.request, answer.links, answer.chips
        may_improve_links = prepared.link_fetch is not None and not answer.has_cached_links
        may_improve_chips = prepared.chip_fetch is not None and not answer.has_cached_chips
        if prepared.link_fetch and may_improve_links and links.section is not None:
            answer.links = self._links.merged(request, links.section, prepared.link_fetch)
        if prepared.chip_fetch and may_improve_chips and chips.section is not None:
            answer.chips = await self._chips.merged(
                request, chips, prepared.chip_fetch, prepared.pin
            )
        if may_improve_links or may_improve_chips:
            answer.chips = with_grounding(answer.chips, answer.links.section, request)

    def _store_response(self, prepared: _PreparedRequest, answer: _Answer) -> None:
        """Cache the response if both sections came from fresh entries."""
        if (
            prepared.response_key
            and answer.has_cached_links == prepared.request.want_links
            and answer.has_cached_chips == prepared.request.want_chips
        ):
            sections = answer.links.section, answer.chips.section
            self._response_cache.put(prepared.response_key, *sections)

    def _respond_last(self, prepared: _PreparedRequest, answer: _Answer) -> Suggestions:
        last = self._respond(prepared, answer)
        self._on_suggestions(last)
        return last

    def _respond(self, prepared: _PreparedRequest, answer: _Answer) -> Suggestions:
        """The response, with a signed token for each item."""
        request, links, chips = prepared.request, answer.links, answer.chips
        total_ms = prepared.elapsed_ms()
        chips_ms = round(total_ms - answer.links_ms, 2)
        degradations = links.degradations + chips.degradations
        return Suggestions(
            id=prepared.id,
            created=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            lang=request.language,
            surface=request.surface,
            links=links.section
            and with_tokens(links.section, "links", prepared.id, self._signer, links.propensity),
            chips=chips.section
            and with_tokens(chips.section, "chips", prepared.id, self._signer, chips.propensity),
            timing=Timing(request.budget_ms, total_ms, answer.links_ms, chips_ms),
            degraded=bool(degradations),
            degradations=degradations,
            cache=Cache(links.cache, chips.cache),
            warnings=request.warnings,
        )

    async def aclose(self) -> None:
        """Cancel the running fetches."""
        await self._links.cache.aclose()
        await self._chips.cache.aclose()


async def _wait_for_fetches(prepared: _PreparedRequest, tasks: set[asyncio.Task[None]]) -> None:
    """Until all are done or the budget ends. A fetch that is late still fills the cache."""
    remaining_s = prepared.remaining_s()
    if remaining_s > 0:
        await asyncio.wait(tasks, timeout=remaining_s)


def _cached_answer(prepared: _PreparedRequest, sections: Sections) -> _Answer:
    """The sections of a cached response, with the age that their cache entries have now."""
    links, chips = sections
    link_result: SectionResult[Links] = SectionResult()
    chip_result: SectionResult[Chips] = SectionResult()
    if links and prepared.link_fetch:
        link_result = SectionResult(links, (), prepared.link_fetch.cache_state())
    if chips and prepared.chip_fetch:
        chip_result = SectionResult(chips, (), prepared.chip_fetch.cache_state())
    return _Answer(link_result, chip_result, prepared.elapsed_ms())
