"""A committed response, and how a response reaches its commit point."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar, cast

from msgspec import structs

from hamlet.config import Policy
from hamlet.core import ChatEvent, Finished, FinishReason, NativeChunk, Started, Usage
from hamlet.core.errors import EmptyAnswer, ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.paced_stream import (
    Item,
    PacedStream,
    StreamTimeouts,
    estimate_bytes,
    is_commit_point,
)
from hamlet.spi import Deadline

E = TypeVar("E", ChatEvent, NativeChunk)
OnSettle = Callable[["StreamStats"], None]
Clock = Callable[[], float]

_MAX_BYTES_BEFORE_CONTENT = 64 << 10
_MAX_BUFFERED_BYTES = 64 << 20


def stream_timeouts(policy: Policy, remaining_s: float) -> StreamTimeouts:
    """The policy's timeouts for a response, with `remaining_s` seconds left of the call."""
    return StreamTimeouts(policy.idle_s, remaining_s, policy.min_tokens_per_s)


async def open_stream(
    source: AsyncGenerator[E, None],
    *,
    read_to_end: bool,
    timeout_s: float,
    hold_back_timeouts: StreamTimeouts | None = None,
) -> tuple[list[E], bool]:
    """Pull from `source` up to the commit point: the first content, or the end if `read_to_end`.

    Returns the items, and whether there are no others. A failure here can be retried elsewhere,
    because the caller has seen nothing; the source is then closed. `timeout_s` bounds the whole of
    it. With `hold_back_timeouts` it bounds only the first content, and they bound what follows;
    their `total_s` counts from now.
    """
    head: list[E] = []
    started_at = asyncio.get_running_loop().time()
    try:
        with Deadline(timeout_s) as limit:
            ended = await _read_head(
                source, head, read_to_end=read_to_end and hold_back_timeouts is None
            )
        if hold_back_timeouts is not None and read_to_end and not ended:
            elapsed_s = asyncio.get_running_loop().time() - started_at
            remaining_timeouts = structs.replace(
                hold_back_timeouts, total_s=max(0.0, hold_back_timeouts.total_s - elapsed_s)
            )
            await _buffer_rest(source, head, remaining_timeouts)
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


async def _read_head(source: AsyncGenerator[E, None], head: list[E], *, read_to_end: bool) -> bool:
    """Append to `head` up to the first content or the end; True if it was the end."""
    buffered_bytes, max_bytes = 0, _MAX_BUFFERED_BYTES if read_to_end else _MAX_BYTES_BEFORE_CONTENT
    async for item in source:
        head.append(item)
        if not read_to_end and is_commit_point(item):
            return False
        buffered_bytes += estimate_bytes(item)
        if buffered_bytes > max_bytes:
            raise UpstreamProtocol(f"the upstream sent over {max_bytes} bytes without content")
    if not any(is_commit_point(item) for item in head):
        raise EmptyAnswer("the upstream's answer has no content and no end")
    return True


async def _buffer_rest(
    source: AsyncGenerator[E, None], head: list[E], timeouts: StreamTimeouts
) -> None:
    """Append the rest of a response to a head that has its first content."""
    stats, buffered_bytes = StreamStats(), 0
    paced_stream = PacedStream(cast(AsyncGenerator[Item, None], source), timeouts)
    try:
        for item in head:
            stats.record_item(item)
        while (more := await paced_stream.next_item()) is not None:
            stats.record_item(more)
            head.append(cast(E, more))
            buffered_bytes += estimate_bytes(more)
            if buffered_bytes > _MAX_BUFFERED_BYTES:
                raise UpstreamProtocol(f"the upstream's answer is over {_MAX_BUFFERED_BYTES} bytes")
    finally:
        paced_stream.cancel_timers()
    stats.require_end()


class StreamStats:
    """What is measured of one response as its items pass."""

    __slots__ = (
        "_clock",
        "error",
        "event_count",
        "finish_reason",
        "first_token_at",
        "is_complete",
        "usage",
    )  # fmt: skip

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.first_token_at = 0.0
        self.event_count = 0
        self.is_complete = False
        self.error: ProviderError | None = None

    def record_item(self, item: Item) -> None:
        """Take in one item. The first content sets `first_token_at`, in seconds of the clock."""
        self.event_count += 1
        if not self.first_token_at and is_commit_point(item):
            self.first_token_at = self._clock()
        if isinstance(item, NativeChunk):
            self.usage = item.usage or self.usage
            self.finish_reason = item.finish or self.finish_reason
            self.is_complete = self.is_complete or item.end
        elif isinstance(item, Finished):
            self.usage, self.finish_reason, self.is_complete = item.usage, item.reason, True

    def require_end(self) -> None:
        """Raise UpstreamProtocol unless an item was the end of the response."""
        if not self.is_complete:
            raise UpstreamProtocol("the stream ended before the answer did")


class ChatStream:
    """A committed response: iterate it once, and always `aclose()` it.

    Yields ChatEvents, or NativeChunks if `native`. A failure is raised as a ProviderError and is
    not retried. `aclose()` closes the upstream call and settles, once.
    """

    __slots__ = (
        "_on_settle",
        "_paced_stream",
        "_reversed_head",
        "_settled",
        "model",
        "native",
        "stats",
        "warnings",
    )  # fmt: skip

    def __init__(
        self,
        head: list[Any],
        paced_stream: PacedStream | None,
        *,
        native: bool,
        warnings: tuple[str, ...],
        on_settle: OnSettle,
        clock: Clock = time.monotonic,
    ) -> None:
        """Without a `paced_stream` the response ends with `head`."""
        self.native = native
        self.warnings = warnings
        self.stats = StreamStats(clock)
        self.model = _reported_model(head)
        # Popped from the end, so that the items of a large response are freed as they are read.
        self._reversed_head: list[Item] = head[::-1]
        self._paced_stream = paced_stream
        self._on_settle = on_settle
        self._settled = False
        for item in head:
            self.stats.record_item(item)

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> Item:
        try:
            if self._reversed_head:
                return self._reversed_head.pop()
            if (
                self._paced_stream is not None
                and (item := await self._paced_stream.next_item()) is not None
            ):
                self.stats.record_item(item)
                return item
            self.stats.require_end()
        except ProviderError as error:
            self._record_error(error)
            raise
        raise StopAsyncIteration

    def events(self) -> AsyncIterator[ChatEvent]:
        """The items of a stream that is not native."""
        return cast(AsyncIterator[ChatEvent], self)

    def read_all(self) -> list[Item]:
        """All items of a response that had ended at its commit point. Raises ProviderError."""
        assert self._paced_stream is None, "the response has not ended"
        try:
            self.stats.require_end()
        except ProviderError as error:
            self._record_error(error)
            raise
        items, self._reversed_head = self._reversed_head[::-1], []
        return items

    def _record_error(self, error: ProviderError) -> None:
        error.phase = "stream"
        self.stats.error = error

    async def aclose(self) -> None:
        """Close the upstream call and settle. May be called twice."""
        self._reversed_head.clear()
        try:
            if self._paced_stream is not None:
                await self._paced_stream.aclose()
        finally:
            self.settle()

    def settle(self) -> None:
        """Settle, once. Without a `paced_stream` there is nothing else to close."""
        if not self._settled:
            self._settled = True
            self._on_settle(self.stats)


def _reported_model(head: list[Any]) -> str | None:
    """The model as the upstream names it; None if the head does not have the name."""
    for item in head:
        if isinstance(item, (Started, NativeChunk)) and item.model:
            return item.model
    return None
