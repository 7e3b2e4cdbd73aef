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

from hamlet.core.text import normal
from hamlet.spi.sources import SupportsSearch
from hamlet.suggest.cached_fetch import Work
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.dynamic import DynamicChips, with_grounding
from hamlet.suggest.content import Pin, first_fitting
from hamlet.suggest.links.related import RelatedLinks
from hamlet.suggest.model import Ask, Cache, Chips, Degradation, Links, Suggestions, Timing
from hamlet.suggest.outcome import Outcome
from hamlet.suggest.response_cache import Hits, recalled
from hamlet.suggest.safety import in_crisis, without_orders
from hamlet.suggest.tokens import Signer, with_tokens

# Kept back from the budget for choosing, encoding and sending.
_RESERVE_S, _RESERVE_SHARE = 0.015, 0.03


class SuggestService:
    """Answers every valid ask with something to tap, within its budget."""

    def __init__(
        self,
        links: RelatedLinks,
        chips: DynamicChips,
        signer: Signer,
        pins: Sequence[Pin] = (),
        heard: Callable[[Suggestions], None] = lambda _: None,
    ) -> None:
        """`heard` is told of each whole answer."""
        self._heard = heard
        self._links = links
        self._chips = chips
        self._signer = signer
        self._pins = pins
        self._hits = Hits()
        links.pool.outdated = chips.pool.outdated = self._hits.drop

    def use(self, source: SupportsSearch, bank: ChipBank, pins: Sequence[Pin]) -> None:
        """Answer from this content from now on."""
        self._links.source, self._chips.bank, self._pins = source, bank, pins
        self._hits.clear()

    async def purge(self) -> None:
        """Forget what web and models gave."""
        self._hits.clear()
        await self._links.pool.clear()
        await self._chips.pool.clear()

    async def suggest(self, ask: Ask) -> Suggestions:
        """The best there is when the budget ends, or sooner if no better can come."""
        shown = [revision async for revision in self.revisions(ask)]
        return shown[-1]

    async def revisions(self, ask: Ask) -> AsyncIterator[Suggestions]:
        """One answer at once, and a better one if it comes in time."""
        start = time.perf_counter()
        id_ = f"sg_{secrets.token_hex(10)}"
        ask = without_orders(ask)
        crisis = in_crisis(" ".join(ask.said))
        searching = self._links.begin(ask, crisis) if ask.want_links else None
        writing = self._chips.begin(ask, crisis) if ask.want_chips else None
        pin = first_fitting(self._pins, ask.language, ask.surface, ask.query)
        known_by = None if pin else self._hits.key(ask, searching, writing)

        def shown(links: Outcome[Links], chips: Outcome[Chips], links_ms: float) -> Suggestions:
            total = _since(start)
            timing = Timing(ask.budget_ms, total, links_ms, round(total - links_ms, 2))
            return _suggestions(id_, ask, links, chips, timing, self._signer)

        if halves := self._hits.get(known_by):
            last = shown(*recalled(halves, searching, writing), _since(start))
            self._heard(last)
            yield last
            return
        if _running(searching, writing):
            # Web and model are asked before the time goes by that the own answer takes: a turn for
            # the gathering to begin, and one for those it asks.
            for _ in range(2):
                await asyncio.sleep(0)
        # What is whole in the cache is the answer; else what is in hand, and what comes.
        kept_links = self._links.kept(ask, searching) if searching and not pin else None
        links = kept_links or await self._own_links(ask, crisis, pin)
        links_ms = _since(start)
        kept_chips = self._chips.kept(ask, writing) if writing and not pin else None
        chips = kept_chips or await self._own_chips(ask, crisis, pin)
        if tasks := _running(searching, writing):
            yield shown(links, with_grounding(chips, links.half, ask), links_ms)
            left = _for_waiting(ask.budget_ms / 1000) - (time.perf_counter() - start)
            if left > 0:
                await asyncio.wait(tasks, timeout=left)
        if searching and not kept_links and links.half is not None:
            links = self._links.better(ask, links.half, searching)
        if writing and not kept_chips and chips.half is not None:
            chips = await self._chips.better(ask, chips, writing, pin)
        chips = with_grounding(chips, links.half, ask)
        if known_by and bool(kept_links) == ask.want_links and bool(kept_chips) == ask.want_chips:
            self._hits.keep(known_by, links.half, chips.half)
        last = shown(links, chips, links_ms)
        self._heard(last)
        yield last

    async def _own_links(self, ask: Ask, crisis: bool, pin: Pin | None) -> Outcome[Links]:
        if not ask.want_links:
            return Outcome()
        half = await self._links.in_hand(ask, crisis, pin)
        missed = Degradation("links", "web", half.tier, "overload")
        return Outcome(half, (missed,) if self._links.would_ask(ask, crisis) else ())

    async def _own_chips(self, ask: Ask, crisis: bool, pin: Pin | None) -> Outcome[Chips]:
        if not ask.want_chips:
            return Outcome()
        outcome = await self._chips.in_hand(ask, crisis, pin)
        if outcome.half is None or not self._chips.would_ask(ask, crisis):
            return outcome
        missed = Degradation("chips", "llm", outcome.half.tier, "overload")
        return replace(outcome, degradations=(missed,))

    async def aclose(self) -> None:
        """Stop what is still under way."""
        await self._links.pool.aclose()
        await self._chips.pool.aclose()


def digest(salt: bytes) -> Callable[..., str]:
    """Makes keys of texts: hashes with a salt, so that no text can be read off them."""

    def made(*parts: str) -> str:
        text = "\x1f".join(_same(part) if part else "" for part in parts)
        return hashlib.blake2b(text.encode(), key=salt[:64], digest_size=16).hexdigest()

    return made


def _same(text: str) -> str:
    """What texts that ask the same have in common."""
    return " ".join(normal(text).split()).strip(" .?!。？！")


def _running(*works: Work[Any] | None) -> set[asyncio.Task[None]]:
    return {work.batch.task for work in works if work and work.batch.running and work.batch.task}


def _for_waiting(budget_s: float) -> float:
    return budget_s - max(_RESERVE_S, budget_s * _RESERVE_SHARE)


def _suggestions(
    id_: str,
    ask: Ask,
    links: Outcome[Links],
    chips: Outcome[Chips],
    timing: Timing,
    signer: Signer,
) -> Suggestions:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    degradations = links.degradations + chips.degradations
    shown_links = links.half and with_tokens(links.half, "links", id_, signer, links.propensity)
    shown_chips = chips.half and with_tokens(chips.half, "chips", id_, signer, chips.propensity)
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


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 2)
