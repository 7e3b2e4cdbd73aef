"""Suggest for a context: an answer in hand at once, a better one if it comes in time."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from hamlet.core.text import Language, normal
from hamlet.spi.sources import FoundLink, LinkQuery, SupportsSearch
from hamlet.suggest import chips as chips_
from hamlet.suggest import links as links_
from hamlet.suggest.chips import CRISIS, ChipBank
from hamlet.suggest.model import (
    Ask,
    Chips,
    ChipTier,
    Degradation,
    Draft,
    Link,
    Links,
    LinkTier,
    Status,
    Suggestions,
    Timing,
)
from hamlet.suggest.pool import Batch, Pool
from hamlet.suggest.safety import in_crisis
from hamlet.suggest.validate import grounded, has_pii
from hamlet.suggest.writer import ChipWriter

# Kept back from the budget for choosing, encoding and sending.
_RESERVE_S, _RESERVE_SHARE = 0.015, 0.03
_HELP: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}


@dataclass(frozen=True, slots=True)
class _Made:
    """The chips half, and what went less well than it could have."""

    chips: Chips | None
    degradations: tuple[Degradation, ...] = ()


class SuggestService:
    """Answers every valid ask with something to tap, within its budget."""

    def __init__(
        self,
        source: SupportsSearch,
        bank: ChipBank | None = None,
        writer: ChipWriter | None = None,
        pool: Pool[Draft] | None = None,
    ) -> None:
        self._source = source
        self._bank = bank or ChipBank()
        self._writer = writer
        self._pool: Pool[Draft] = pool or Pool(fresh_s=900, stale_s=86_400)
        # Keys are hashes with a salt of this process: no text can be read off them.
        self._salt = secrets.token_bytes(16)

    async def suggest(self, ask: Ask) -> Suggestions:
        """The best there is when the budget ends, or sooner if no better can come."""
        shown = [revision async for revision in self.revisions(ask)]
        return shown[-1]

    async def revisions(self, ask: Ask) -> AsyncIterator[Suggestions]:
        """One answer at once, and a better one if it comes in time."""
        start = time.perf_counter()
        id_ = f"sg_{secrets.token_hex(10)}"
        crisis = in_crisis(" ".join(ask.said))
        links = await self._links(ask, crisis) if ask.want_links else None
        links_ms = _ms(time.perf_counter() - start)

        def shown(made: _Made) -> Suggestions:
            total = _ms(time.perf_counter() - start)
            timing = Timing(ask.budget_ms, total, links_ms, round(total - links_ms, 2))
            return _suggestions(id_, ask, links, made, timing)

        key = self._key(ask) if self._may_write(ask, crisis) else None
        if key is None:
            yield shown(_Made(self._embedded(ask, crisis) if ask.want_chips else None))
            return
        batch = self._gathered(key, ask)
        if not batch.running:
            yield shown(self._chips(ask, batch, waited=False))
            return
        yield shown(_Made(self._embedded(ask, crisis)))
        left = _for_waiting(ask.budget_ms / 1000) - (time.perf_counter() - start)
        if batch.task is not None and left > 0:
            await asyncio.wait({batch.task}, timeout=left)
        yield shown(self._chips(ask, self._pool.get(key) or batch, waited=True))

    async def aclose(self) -> None:
        """Stop what is still being written."""
        await self._pool.aclose()

    # -- links

    async def _links(self, ask: Ask, crisis: bool) -> Links:
        if crisis:
            found = await self._search(_HELP[ask.language], ask, 30)
            approved = [link for link in found if CRISIS in link.topics]
            approved.sort(key=lambda link: link.language != ask.language)
            return _half(links_.show(approved, ask, "safety"), ask, "embedded")
        if ask.topic:
            found = [f for f in await self._search(ask.topic, ask) if CRISIS not in f.topics]
            if related := links_.show(found, ask, "matched_terms"):
                return _half(related, ask, "embedded")
        chosen = await self._search("", ask)
        return _half(links_.show(chosen, ask, "editorial"), ask, "starter")

    async def _search(self, text: str, ask: Ask, limit: int = 0) -> Sequence[FoundLink]:
        wanted = limit or ask.link_limit * 3
        return await self._source.search(LinkQuery(text, ask.language, wanted))

    # -- chips

    def _may_write(self, ask: Ask, crisis: bool) -> bool:
        """Whether a model may be asked: there is one, and nothing here must stay with us."""
        wanted = self._writer is not None and ask.want_chips and not crisis
        return wanted and _substantive(ask) and not has_pii(ask.topic)

    def _gathered(self, key: str, ask: Ask) -> Batch[Draft]:
        """The model's drafts for this context: had, on their way, or begun now."""
        kept = self._pool.get(key)
        if kept is not None and self._pool.is_fresh(kept):
            return kept
        writer = self._writer
        assert writer is not None, "asked only if there is one"
        begun = self._pool.gather(key, lambda drafts: writer.write(ask, drafts))
        return kept if kept is not None and kept.items else begun

    def _key(self, ask: Ask) -> str:
        own = [m.content for m in ask.messages if m.role == "user"][-1:]
        answers = [m.content[:200] for m in ask.messages if m.role == "assistant"][-1:]
        parts = (ask.language, ask.surface, ask.query, ask.draft, *own, *answers)
        text = "\x1f".join(normal(part).strip(" .?!。？！") for part in parts)
        page = f"\x1f{ask.page_title}\x1f{ask.page_text}"
        return hashlib.blake2b((text + page).encode(), key=self._salt, digest_size=16).hexdigest()

    def _chips(self, ask: Ask, batch: Batch[Draft], *, waited: bool) -> _Made:
        """The model's chips, filled up from below; or those below, and why."""
        written = [d for d in batch.items if grounded(f"{d.text} {d.prompt}", ask.topic)]
        if own := chips_.show(written, ask):
            items = chips_.show(self._related(ask) + self._starters(ask), ask, own)
            tier = self._tier(batch, waited=waited)
            return _Made(Chips(_status(len(items), ask.chip_limit), tier, tuple(items)))
        below = self._embedded(ask, crisis=False)
        reason: Literal["failed", "deadline", "rejected"]
        reason = "failed" if batch.failed else "deadline" if batch.running else "rejected"
        return _Made(below, (Degradation("chips", "llm", below.tier, reason),))

    def _tier(self, batch: Batch[Draft], *, waited: bool) -> ChipTier:
        if batch.is_partial or (waited and self._pool.is_fresh(batch)):
            return "llm"
        return "cache" if self._pool.is_fresh(batch) else "stale"

    def _embedded(self, ask: Ask, crisis: bool) -> Chips:
        if crisis:
            items = chips_.show(self._bank.help(ask.language), ask)
            return Chips(_status(len(items), ask.chip_limit), "embedded", tuple(items))
        related = chips_.show(self._related(ask), ask)
        items = chips_.show(self._starters(ask), ask, related)
        tier: ChipTier = "embedded" if related else "starter"
        return Chips(_status(len(items), ask.chip_limit), tier, tuple(items))

    def _related(self, ask: Ask) -> list[Draft]:
        return self._bank.related(ask.topic, ask.language) if _substantive(ask) else []

    def _starters(self, ask: Ask) -> list[Draft]:
        surface = "home" if ask.surface == "search" else ask.surface
        own = self._bank.starters(surface, ask.hour, ask.language)
        return own + self._bank.starters("home", ask.hour, ask.language)


def _substantive(ask: Ask) -> bool:
    """Whether there is something to go on; a greeting is not."""
    return len(normal(ask.topic)) >= 2 and normal(ask.topic).strip(" .!~") not in _GREETINGS


_GREETINGS = frozenset(
    {"안녕", "안녕하세요", "하이", "고마워", "hi", "hello", "hey", "thanks"}
    | {"こんにちは", "おはよう", "ありがとう"}
)


def _for_waiting(budget_s: float) -> float:
    return budget_s - max(_RESERVE_S, budget_s * _RESERVE_SHARE)


def _suggestions(
    id_: str, ask: Ask, links: Links | None, made: _Made, timing: Timing
) -> Suggestions:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Suggestions(
        id=id_,
        created=now,
        lang=ask.language,
        surface=ask.surface,
        links=links,
        chips=made.chips,
        timing=timing,
        degraded=bool(made.degradations),
        degradations=made.degradations,
    )


def _half(items: tuple[Link, ...], ask: Ask, tier: LinkTier) -> Links:
    return Links(_status(len(items), ask.link_limit), tier, items)


def _status(count: int, wanted: int) -> Status:
    return "ok" if count == wanted else "partial" if count else "empty"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
