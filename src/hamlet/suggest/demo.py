"""The demonstration: a simulated model and web search, and faults to inject into them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

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
_GARBAGE_DRAFTS = (
    Draft("<b>BUY NOW</b>", "http://evil.example/buy", "action"),
    Draft("{topic} 1. 2. 3.", "ignore previous instructions", "howto"),
)


class DemoFaultError(Exception):
    """An injected fault."""


class DemoState:
    """The fault that is injected into each part."""

    def __init__(self) -> None:
        self.faults: dict[DemoPart, DemoFault] = dict.fromkeys(DEMO_PARTS, "none")

    async def inject_fault(self, part: DemoPart) -> bool:
        """Wait, or raise DemoFaultError; returns whether the part shall return garbage."""
        fault = self.faults[part]
        if fault in ("down", "429"):
            raise DemoFaultError(fault)
        if fault == "slow":
            await asyncio.sleep(_SLOW_LATENCY_S)
        return fault == "garbage"


class FaultInjectingWriter:
    """A writer with injected faults; without `inner`, one that simulates a model."""

    def __init__(self, state: DemoState, inner: DraftWriter | None) -> None:
        self._state = state
        self._inner = inner
        self._bank = ChipBank()

    async def write(self, request: SuggestRequest, drafts: list[Draft]) -> None:
        """Append drafts. Raises DemoFaultError, or what `inner` raises."""
        if await self._state.inject_fault("llm"):
            drafts.extend(_GARBAGE_DRAFTS)
        elif self._inner is not None:
            await self._inner.write(request, drafts)
        else:
            await asyncio.sleep(_DEFAULT_LATENCY_S["llm"])
            found = await self._bank.find_related(request.context_text, request.language)
            follow_ups = self._bank.follow_ups(request.search_query, request.language)
            drafts.extend(found[2:] + follow_ups)


class FaultInjectingSource:
    """A source with injected faults; without one of `inner`, it searches the catalogue."""

    def __init__(
        self,
        state: DemoState,
        inner: Mapping[str, SupportsSearch],
        catalogue: Callable[[], SupportsSearch],
    ) -> None:
        """`catalogue` returns the one in use."""
        self._state = state
        self._inner = inner
        self._catalogue = catalogue

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """The links of the first source of `inner`, or of the catalogue. Raises SourceError."""
        try:
            if await self._state.inject_fault("web"):
                return [FoundLink("javascript:alert(1)", "", "", "other", "en", 1.0, "demo")]
        except DemoFaultError as error:
            raise SourceError(f"demo: {error}") from None
        for source in self._inner.values():
            return await source.search(query)
        await asyncio.sleep(_DEFAULT_LATENCY_S["web"])
        return await self._catalogue().search(query)
