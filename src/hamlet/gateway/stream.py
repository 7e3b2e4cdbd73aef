"""A committed answer, and how an answer becomes committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar, cast

from hamlet.core import (
    ChatEvent,
    Finished,
    FinishReason,
    NativeChunk,
    Started,
    Usage,
    is_content,
)
from hamlet.core.errors import EmptyAnswer, ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.watchdog import Watchdog

E = TypeVar("E", ChatEvent, NativeChunk)
Item = ChatEvent | NativeChunk
Settle = Callable[["Meter"], None]


def commits(item: Item) -> bool:
    """Whether the item is the first that a caller would see."""
    return item.content or item.end if isinstance(item, NativeChunk) else is_content(item)


async def open_stream(source: AsyncGenerator[E, None], *, whole: bool, timeout_s: float) -> list[E]:
    """Pull from `source` up to the commit point: the first content, or the end if `whole`.

    Everything that fails here is safe to try elsewhere. The source is closed on failure.
    """
    head: list[E] = []
    try:
        async with asyncio.timeout(timeout_s) as limit:
            async for item in source:
                head.append(item)
                if not whole and commits(item):
                    return head
    except TimeoutError:
        await source.aclose()
        if limit.expired():
            raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
        raise
    except BaseException:
        await source.aclose()
        raise
    if not any(commits(item) for item in head):
        raise EmptyAnswer("the upstream's answer has no content and no end")
    return head


class Meter:
    """What is measured of one answer as it passes."""

    __slots__ = ("error", "events", "finish", "first_token_at", "usage", "whole")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.first_token_at = 0.0
        self.events = 0
        self.whole = False
        self.error: ProviderError | None = None

    def note(self, item: Item) -> None:
        """Look at one item on its way to the caller. A committed answer has a first token."""
        self.events += 1
        if not self.first_token_at and commits(item):
            self.first_token_at = time.monotonic()
        if isinstance(item, NativeChunk):
            self.usage = item.usage or self.usage
            self.finish = item.finish or self.finish
            self.whole = self.whole or item.end
        elif isinstance(item, Finished):
            self.usage, self.finish, self.whole = item.usage, item.reason, True


class ChatStream:
    """A committed answer: iterate it, and always `aclose()` it.

    Yields ChatEvents, or NativeChunks if `native`. A failure is raised as a ProviderError; nothing
    is retried any more. `aclose()` closes the upstream call and settles, once.
    """

    def __init__(
        self,
        head: list[Any],
        source: AsyncGenerator[Any, None],
        *,
        native: bool,
        warnings: tuple[str, ...],
        idle_s: float,
        total_s: float,
        settle: Settle,
    ) -> None:
        self.native = native
        self.warnings = warnings
        self.meter = Meter()
        self._head: list[Item] = head
        self._source: AsyncGenerator[Item, None] = source
        self._settle = settle
        self._closed = False
        self._watchdog = Watchdog(idle_s, total_s)
        for item in head:
            self.meter.note(item)

    @property
    def model(self) -> str | None:
        """The model that answers, as the upstream names it, if it has said so yet."""
        for item in self._head:
            if isinstance(item, (Started, NativeChunk)) and item.model:
                return item.model
        return None

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items()

    def events(self) -> AsyncIterator[ChatEvent]:
        """The items of a stream that is not native."""
        return cast(AsyncIterator[ChatEvent], self._items())

    def chunks(self) -> AsyncIterator[NativeChunk]:
        """The items of a native stream."""
        return cast(AsyncIterator[NativeChunk], self._items())

    async def _items(self) -> AsyncIterator[Item]:
        try:
            for item in self._head:
                yield item
            while (item_or_none := await self._next()) is not None:
                self.meter.note(item_or_none)
                yield item_or_none
        except ProviderError as error:
            error.phase = "stream"
            self.meter.error = error
            raise

    async def _next(self) -> Item | None:
        try:
            async with self._watchdog:
                return await anext(self._source)
        except StopAsyncIteration:
            if not self.meter.whole:
                raise UpstreamProtocol("the stream ended before the answer did") from None
            return None
        except (ProviderError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise UpstreamProtocol(f"the adapter failed: {type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close the upstream call and settle. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._watchdog.stop()
        try:
            await self._source.aclose()
        finally:
            self._settle(self.meter)
