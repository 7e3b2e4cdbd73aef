"""Suggest for a context: an answer in hand at once, a better one if it comes in time."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hamlet.core.text import Language, normal
from hamlet.spi import SupportsClose
from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch
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
from hamlet.suggest.pool import Pool
from hamlet.suggest.safety import in_crisis
from hamlet.suggest.tokens import Signer, signed
from hamlet.suggest.validate import grounded, has_pii
from hamlet.suggest.work import Work
from hamlet.suggest.writer import ChipWriter

# Kept back from the budget for choosing, encoding and sending.
_RESERVE_S, _RESERVE_SHARE = 0.015, 0.03
_WEB_LINKS = 20
_HELP: dict[Language, str] = {
    "ko": "위기 상담 자살예방 도움 전화",
    "en": "crisis helpline suicide prevention support",
    "ja": "相談 危機 こころ 自殺予防 電話",
}


@dataclass(frozen=True, slots=True)
class _Links:
    """The links half, and what went less well than it could have."""

    half: Links | None
    degradations: tuple[Degradation, ...] = ()


@dataclass(frozen=True, slots=True)
class _Chips:
    """The chips half, and what went less well than it could have."""

    half: Chips | None
    degradations: tuple[Degradation, ...] = ()


class SuggestService:
    """Answers every valid ask with something to tap, within its budget."""

    def __init__(
        self,
        source: SupportsSearch,
        bank: ChipBank | None = None,
        writer: ChipWriter | None = None,
        pool: Pool[Draft] | None = None,
        web: Sequence[SupportsSearch] = (),
        found: Pool[FoundLink] | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._source = source
        self._web = tuple(web)
        self._found: Pool[FoundLink] = found or Pool(fresh_s=300, stale_s=86_400)
        self._bank = bank or ChipBank()
        self._writer = writer
        self._pool: Pool[Draft] = pool or Pool(fresh_s=900, stale_s=86_400)
        # Keys are hashes with a salt of this process: no text can be read off them.
        self._salt = secrets.token_bytes(16)
        self._signer = signer or Signer(secrets.token_bytes(32))

    async def suggest(self, ask: Ask) -> Suggestions:
        """The best there is when the budget ends, or sooner if no better can come."""
        shown = [revision async for revision in self.revisions(ask)]
        return shown[-1]

    async def revisions(self, ask: Ask) -> AsyncIterator[Suggestions]:
        """One answer at once, and a better one if it comes in time."""
        start = time.perf_counter()
        id_ = f"sg_{secrets.token_hex(10)}"
        crisis = in_crisis(" ".join(ask.said))
        own = await self._links(ask, crisis) if ask.want_links else None
        links_ms = _ms(time.perf_counter() - start)

        def shown(links: _Links, chips: _Chips) -> Suggestions:
            total = _ms(time.perf_counter() - start)
            timing = Timing(ask.budget_ms, total, links_ms, round(total - links_ms, 2))
            return signed(_suggestions(id_, ask, links, chips, timing), self._signer)

        writing = self._written(ask) if self._may_write(ask, crisis) else None
        searching = self._searched(ask) if self._may_search(ask, crisis) else None
        tasks = {work.batch.task for work in (writing, searching) if work and work.batch.running}
        in_hand = self._embedded(ask, crisis) if ask.want_chips else None
        if tasks:
            yield shown(_Links(own), _Chips(in_hand))
            left = _for_waiting(ask.budget_ms / 1000) - (time.perf_counter() - start)
            if left > 0:
                await asyncio.wait({task for task in tasks if task}, timeout=left)
        links = self._better_links(ask, own, searching) if own and searching else _Links(own)
        chips = self._better_chips(ask, writing) if writing else _Chips(in_hand)
        yield shown(links, chips)

    async def aclose(self) -> None:
        """Stop what is still under way, and close the web sources."""
        await self._pool.aclose()
        await self._found.aclose()
        for source in self._web:
            if isinstance(source, SupportsClose):
                await source.aclose()

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

    def _may_search(self, ask: Ask, crisis: bool) -> bool:
        """Whether the web may be asked: there is one, and nothing here must stay with us."""
        wanted = bool(self._web) and ask.want_links and not crisis
        return wanted and bool(ask.headline) and not has_pii(ask.headline)

    def _searched(self, ask: Ask) -> Work[FoundLink]:
        """What the web has for this context: had, on its way, or begun now."""
        query = LinkQuery(ask.headline, ask.language, _WEB_LINKS)
        key = self._digest(ask.language, query.text)
        return Work.of(self._found, key, lambda found: self._search_web(query, found))

    async def _search_web(self, query: LinkQuery, found: list[FoundLink]) -> None:
        """Ask the sources in turn until one answers. Raises the last one's SourceError."""
        for i, source in enumerate(self._web):
            try:
                found.extend(await source.search(query))
                return
            except SourceError:
                if i == len(self._web) - 1:
                    raise

    def _better_links(self, ask: Ask, own: Links, work: Work[FoundLink]) -> _Links:
        """The web's links, filled up from the catalogue; or the catalogue's, and why."""
        batch = work.now()
        web = links_.show(batch.items, ask, "matched_terms")
        if not web:
            reason = work.why_not()
            return _Links(own, (Degradation("links", "web", own.tier, reason),))
        related = own.items if own.tier == "embedded" else ()
        items = links_.fill(web, related, ask)
        return _Links(Links(_status(len(items), ask.link_limit), work.tier("web"), items))

    # -- chips

    def _may_write(self, ask: Ask, crisis: bool) -> bool:
        """Whether a model may be asked: there is one, and nothing here must stay with us."""
        wanted = self._writer is not None and ask.want_chips and not crisis
        return wanted and _substantive(ask) and not has_pii(ask.topic)

    def _written(self, ask: Ask) -> Work[Draft]:
        """The model's drafts for this context: had, on their way, or begun now."""
        writer = self._writer
        assert writer is not None, "asked only if there is one"
        return Work.of(self._pool, self._key(ask), lambda drafts: writer.write(ask, drafts))

    def _key(self, ask: Ask) -> str:
        own = [m.content for m in ask.messages if m.role == "user"][-1:]
        answers = [m.content[:200] for m in ask.messages if m.role == "assistant"][-1:]
        page = (ask.page_title, ask.page_text)
        return self._digest(ask.language, ask.surface, ask.query, ask.draft, *own, *answers, *page)

    def _digest(self, *parts: str) -> str:
        text = "\x1f".join(normal(part).strip(" .?!。？！") for part in parts)
        return hashlib.blake2b(text.encode(), key=self._salt, digest_size=16).hexdigest()

    def _better_chips(self, ask: Ask, work: Work[Draft]) -> _Chips:
        """The model's chips, filled up from below; or those below, and why."""
        drafts = work.now().items
        written = [d for d in drafts if grounded(f"{d.text} {d.prompt}", ask.topic)]
        if own := chips_.show(written, ask):
            below = self._related(ask) + self._follow_on(ask) + self._starters(ask)
            items = chips_.show(below, ask, own)
            status = _status(len(items), ask.chip_limit)
            return _Chips(Chips(status, work.tier("llm"), tuple(items)))
        lower = self._embedded(ask, crisis=False)
        return _Chips(lower, (Degradation("chips", "llm", lower.tier, work.why_not()),))

    def _embedded(self, ask: Ask, crisis: bool) -> Chips:
        if crisis:
            items = chips_.show(self._bank.help(ask.language), ask)
            return Chips(_status(len(items), ask.chip_limit), "embedded", tuple(items))
        related = chips_.show(self._related(ask) + self._follow_on(ask), ask)
        items = chips_.show(self._starters(ask), ask, related)
        tier: ChipTier = "embedded" if related else "starter"
        return Chips(_status(len(items), ask.chip_limit), tier, tuple(items))

    def _related(self, ask: Ask) -> list[Draft]:
        return self._bank.related(ask.topic, ask.language) if _substantive(ask) else []

    def _follow_on(self, ask: Ask) -> list[Draft]:
        fits = _substantive(ask) and not has_pii(ask.headline)
        return self._bank.follow_on(ask.headline, ask.language) if fits else []

    def _starters(self, ask: Ask) -> list[Draft]:
        surface = "home" if ask.surface == "search" else ask.surface
        own = self._bank.starters(surface, ask.hour, ask.language)
        return own + self._bank.starters("home", ask.hour, ask.language)


def _substantive(ask: Ask) -> bool:
    """Whether there is something to go on; a greeting is not, whatever was answered to it."""
    headline = normal(ask.headline).strip(" .!~?。！")
    return len(headline) >= 2 and headline not in _GREETINGS


_GREETINGS = frozenset(
    {"안녕", "안녕하세요", "하이", "고마워", "hi", "hello", "hey", "thanks"}
    | {"こんにちは", "おはよう", "ありがとう"}
)


def _for_waiting(budget_s: float) -> float:
    return budget_s - max(_RESERVE_S, budget_s * _RESERVE_SHARE)


def _suggestions(id_: str, ask: Ask, links: _Links, chips: _Chips, timing: Timing) -> Suggestions:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    degradations = links.degradations + chips.degradations
    return Suggestions(
        id=id_,
        created=now,
        lang=ask.language,
        surface=ask.surface,
        links=links.half,
        chips=chips.half,
        timing=timing,
        degraded=bool(degradations),
        degradations=degradations,
    )


def _half(items: tuple[Link, ...], ask: Ask, tier: LinkTier) -> Links:
    return Links(_status(len(items), ask.link_limit), tier, items)


def _status(count: int, wanted: int) -> Status:
    return "ok" if count == wanted else "partial" if count else "empty"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
