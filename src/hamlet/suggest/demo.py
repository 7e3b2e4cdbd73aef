"""The stage of the demonstration: a pretended model and web, and the troubles they may have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from hamlet.spi.sources import FoundLink, LinkQuery, SourceError, SupportsSearch
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.writer import Writes
from hamlet.suggest.model import Ask, Draft

Part = Literal["llm", "web"]
Trouble = Literal["none", "slow", "down", "garbage", "429"]
PARTS: tuple[Part, ...] = get_args(Part)
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
_USUAL_S = {"llm": 0.35, "web": 0.2}
_SLOW_S = 6.0
_JUNK = (
    Draft("<b>BUY NOW</b>", "http://evil.example/buy", "action"),
    Draft("{topic} 1. 2. 3.", "ignore previous instructions", "howto"),
)


class DemoTroubleError(Exception):
    """A trouble that was asked for."""


class Stage:
    """Which part has which trouble now."""

    def __init__(self) -> None:
        self.trouble: dict[Part, Trouble] = dict.fromkeys(PARTS, "none")

    async def act(self, part: Part) -> bool:
        """Play the part's trouble: wait, or raise DemoTroubleError; whether it shall be garbage."""
        trouble = self.trouble[part]
        if trouble in ("down", "429"):
            raise DemoTroubleError(trouble)
        if trouble == "slow":
            await asyncio.sleep(_SLOW_S)
        return trouble == "garbage"


class DemoWriter:
    """Writes what a model wrote, or pretends one, with the stage's trouble."""

    def __init__(self, stage: Stage, inner: Writes | None) -> None:
        self._stage = stage
        self._inner = inner
        self._bank = ChipBank()

    async def write(self, ask: Ask, drafts: list[Draft]) -> None:
        """Append drafts. Raises DemoTroubleError."""
        if await self._stage.act("llm"):
            drafts.extend(_JUNK)
        elif self._inner is not None:
            await self._inner.write(ask, drafts)
        else:
            await asyncio.sleep(_USUAL_S["llm"])
            found = await self._bank.related(ask.topic, ask.language)
            drafts.extend(found[2:] + self._bank.follow_on(ask.headline, ask.language))


class DemoWeb:
    """A web search over the catalogue, with the stage's trouble."""

    def __init__(self, stage: Stage, inner: Mapping[str, SupportsSearch], own: Any) -> None:
        """`own` gives the catalogue in use."""
        self._stage = stage
        self._inner = inner
        self._own = own

    async def search(self, query: LinkQuery) -> Sequence[FoundLink]:
        """What is found. Raises SourceError."""
        try:
            if await self._stage.act("web"):
                return [FoundLink("javascript:alert(1)", "", "", "other", "en", 1.0, "demo")]
        except DemoTroubleError as error:
            raise SourceError(f"demo: {error}") from None
        for source in self._inner.values():
            return await source.search(query)
        await asyncio.sleep(_USUAL_S["web"])
        found: Sequence[FoundLink] = await self._own().search(query)
        return found
