"""A committed answer, and how an answer becomes committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar, cast

from msgspec import structs

from hamlet.config import Policy
from hamlet.core import ChatEvent, Finished, FinishReason, NativeChunk, Started, Usage
from hamlet.core.errors import EmptyAnswer, ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.paced_stream import Flow, Item, Limits, commits, size
from hamlet.spi import Deadline

E = TypeVar("E", ChatEvent, NativeChunk)
Settle = Callable[["Meter"], None]
Clock = Callable[[], float]

_MOST_BEFORE_CONTENT = 64 << 10
_MOST_HELD = 64 << 20


def limits(policy: Policy, total_s: float) -> Limits:
    """What the policy says of an answer under way, of which `total_s` seconds are left."""
    return Limits(policy.idle_s, total_s, policy.min_tokens_per_s)


async def open_stream(
    source: AsyncGenerator[E, None],
    *,
    whole: bool,
    timeout_s: float,
    held: Limits | None = None,
) -> tuple[list[E], bool]:
    """Pull from `source` up to the commit point: the first content, or the end if `whole`.

    Returns what was pulled, and whether that is all there is. Everything that fails here is safe to
    try elsewhere. The source is closed on failure. With `held`, a whole answer comes as a stream:
    `timeout_s` then bounds its first content, and `held` what follows; its `total_s` counts from
    now.
    """
    head: list[E] = []
    begun = asyncio.get_running_loop().time()
    try:
        with Deadline(timeout_s) as limit:
            ended = await _gather(source, head, whole=whole and held is None)
        if held is not None and whole and not ended:
            passed = asyncio.get_running_loop().time() - begun
            left = structs.replace(held, total_s=max(0.0, held.total_s - passed))
            await _hold_back(source, head, left)
            ended = True
    except TimeoutError:
        await source.aclose()
        if limit.expired:
            raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
        raise
    except BaseException:
        await source.aclose()
        raise
    return head, ended


async def _gather(source: AsyncGenerator[E, None], head: list[E], *, whole: bool) -> bool:
    """Fill `head` up to the first content or the end; True if it was the end."""
    held, most = 0, _MOST_HELD if whole else _MOST_BEFORE_CONTENT
    async for item in source:
        head.append(item)
        if not whole and commits(item):
            return False
        held += size(item)
        if held > most:
            raise UpstreamProtocol(f"the upstream sent over {most} bytes without content")
    if not any(commits(item) for item in head):
        raise EmptyAnswer("the upstream's answer has no content and no end")
    return True


async def _hold_back(source: AsyncGenerator[E, None], head: list[E], limits: Limits) -> None:
    """Add to a head that has content all the rest of its answer."""
    meter, held = Meter(), 0
    flow = Flow(cast(AsyncGenerator[Item, None], source), limits)
    try:
        for item in head:
            meter.note(item)
        while (more := await flow.next()) is not None:
            meter.note(more)
            head.append(cast(E, more))
            held += size(more)
            if held > _MOST_HELD:
                raise UpstreamProtocol(f"the upstream's answer is over {_MOST_HELD} bytes")
    finally:
        flow.stop()
    meter.need_end()


class Meter:
    """What is measured of one answer as it passes."""

    __slots__ = (
        "_clock", "error", "events", "finish", "first_token_at", "unwanted", "usage", "whole",
    )  # fmt: skip

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.first_token_at = 0.0
        self.events = 0
        self.whole = False
        self.unwanted = False
        self.error: ProviderError | None = None

    def note(self, item: Item) -> None:
        """Look at one item on its way to the caller. A committed answer has a first token."""
        self.events += 1
        if not self.first_token_at and commits(item):
            self.first_token_at = self._clock()
        if isinstance(item, NativeChunk):
            self.usage = item.usage or self.usage
            self.finish = item.finish or self.finish
            self.whole = self.whole or item.end
        elif isinstance(item, Finished):
            self.usage, self.finish, self.whole = item.usage, item.reason, True

    def need_end(self) -> None:
        """Raise UpstreamProtocol unless the answer was seen to end."""
        if not self.whole:
            raise UpstreamProtocol("the stream ended before the answer did")


class ChatStream:
    """A committed answer: iterate it once, and always `aclose()` it.

    Yields ChatEvents, or NativeChunks if `native`. A failure is raised as a ProviderError; nothing
    is retried any more. `aclose()` closes the upstream call and settles, once.
    """

    __slots__ = (
        "_closed", "_flow", "_head", "_settle", "meter", "model", "native", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        head: list[Any],
        flow: Flow | None,
        *,
        native: bool,
        warnings: tuple[str, ...],
        settle: Settle,
        clock: Clock = time.monotonic,
    ) -> None:
        """Without a `flow` the head is all there is: then nothing is waited for."""
        self.native = native
        self.warnings = warnings
        self.meter = Meter(clock)
        self.model = _model(head)
        # From its end, as a held answer may be large: what is on its way need not be kept.
        self._head: list[Item] = head[::-1]
        self._flow = flow
        self._settle = settle
        self._closed = False
        for item in head:
            self.meter.note(item)

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> Item:
        try:
            if self._head:
                return self._head.pop()
            if self._flow is not None and (item := await self._flow.next()) is not None:
                self.meter.note(item)
                return item
            self.meter.need_end()
        except ProviderError as error:
            self._broke(error)
            raise
        raise StopAsyncIteration

    def events(self) -> AsyncIterator[ChatEvent]:
        """The items of a stream that is not native."""
        return cast(AsyncIterator[ChatEvent], self)

    def whole(self) -> list[Item]:
        """All items of an answer that had ended before it was committed. Raises ProviderError."""
        assert self._flow is None, "it is still under way"
        try:
            self.meter.need_end()
        except ProviderError as error:
            self._broke(error)
            raise
        items, self._head = self._head[::-1], []
        return items

    def _broke(self, error: ProviderError) -> None:
        error.phase = "stream"
        self.meter.error = error

    async def discard(self) -> None:
        """Close an answer that nobody reads: its call has a better one, or was called off."""
        self.meter.unwanted = True
        await self.aclose()

    async def aclose(self) -> None:
        """Close the upstream call and settle. May be called twice."""
        self._head.clear()
        try:
            if self._flow is not None:
                await self._flow.aclose()
        finally:
            self.settle()

    def settle(self) -> None:
        """Settle, once: enough to end an answer that is `whole()`, which waits for nothing."""
        if not self._closed:
            self._closed = True
            self._settle(self.meter)


def _model(head: list[Any]) -> str | None:
    """The model that answers, as the upstream names it, if it has said so yet."""
    for item in head:
        if isinstance(item, (Started, NativeChunk)) and item.model:
            return item.model
    return None
