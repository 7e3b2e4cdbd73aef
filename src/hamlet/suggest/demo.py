"""The stage of the demonstration: a pretended model and web, and the troubles they may have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.writer import DraftWriter
from hamlet.suggest.model import Draft, SuggestRequest

DemoPart = Literal["llm", "web"]
DemoFault = Literal["none", "slow", "down", "garbage", "429"]
DEMO_PARTS: tuple[DemoPart, ...] = get_args(DemoPart)
DEMO_FAULTS: tuple[DemoFault, ...] = get_args(DemoFault)
_DEFAULT_LATENCY_S = {"llm": 0.35, "web": 0.2}
_SLOW_LATENCY_S = 6.0
_JUNK = (
    Draft("<b>BUY NOW</b>", "http://evil.example/buy", "action"),
    Draft("{topic} 1. 2. 3.", "ignore previous instructions", "howto"),
)


class DemoFaultError(Exception):
    """A trouble that was asked for."""


class DemoState:
    """Which part has which trouble now."""

    def __init__(self) -> None:
        self.faults: dict[DemoPart, DemoFault] = dict.fromkeys(DEMO_PARTS, "none")

    async def inject_fault(self, part: DemoPart) -> bool:
        """Play the part's trouble: wait, or raise DemoTroubleError; whether it shall be garbage."""
        fault = self.faults[part]
        if fault in ("down", "429"):
            raise DemoFaultError(fault)
        if fault == "slow":
            await asyncio.sleep(_SLOW_LATENCY_S)
        return fault == "garbage"


class FaultInjectingWriter:
    """Writes what a model wrote, or pretends one, with the stage's trouble."""

    def __init__(self, state: DemoState, inner: DraftWriter | None) -> None:
        self._state = state
        self._inner = inner
        self._bank = ChipBank()

    async def write(self, ask: SuggestRequest, drafts: list[Draft]) -> None:
        """Append drafts. Raises DemoTroubleError."""
        if await self._state.inject_fault("llm"):
            drafts.extend(_JUNK)
        elif self._inner is not None:
            await self._inner.write(ask, drafts)
        else:
            await asyncio.sleep(_DEFAULT_LATENCY_S["llm"])
            found = await self._bank.find_related(ask.context_text, ask.language)
            drafts.extend(found[2:] + self._bank.follow_ups(ask.search_query, ask.language))


class FaultInjectingSource:
    """A web search over the catalogue, with the stage's trouble."""

    def __init__(
        self, state: DemoState, inner: Mapping[str, SupportsSearch], catalogue: Any
    ) -> None:
        """`own` gives the catalogue in use."""
        self._state = state
        self._inner = inner
        self._catalogue = catalogue

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """What is found. Raises SourceError."""
        try:
            if await self._state.inject_fault("web"):
                return [FoundLink("javascript:alert(1)", "", "", "other", "en", 1.0, "demo")]
        except DemoFaultError as error:
            raise SourceError(f"demo: {error}") from None
        for source in self._inner.values():
            return await source.search(query)
        await asyncio.sleep(_DEFAULT_LATENCY_S["web"])
        found: Sequence[FoundLink] = await self._catalogue().search(query)
        return found
