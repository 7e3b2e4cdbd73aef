"""The items of one upstream response, under the timeouts and the minimum rate of the route."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from msgspec import Struct

from hamlet.core import ChatEvent, Finished, NativeChunk, Started, ToolCallDelta, is_content
from hamlet.core.errors import ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.spi import IdleTimeout

Item = ChatEvent | NativeChunk

_WINDOW_SLOTS = 4
_ITEM_OVERHEAD_BYTES = 200
_CHARS_PER_TOKEN = 4


class StreamTimeouts(Struct, frozen=True):
    """How long a response may take; `idle_s` bounds the gap between contents, not between bytes."""

    idle_s: float
    total_s: float
    min_tokens_per_s: float | None = None


def is_commit_point(item: Item) -> bool:
    """Whether the item has content or is the end: the first such item commits a response."""
    return item.content or item.end if isinstance(item, NativeChunk) else is_content(item)


def estimate_bytes(item: Item) -> int:
    """Roughly the bytes that the item takes in memory."""
    match item:
        case NativeChunk():
            return len(item.data) + _ITEM_OVERHEAD_BYTES
        case Started() | Finished():
            return _ITEM_OVERHEAD_BYTES
        case ToolCallDelta():
            return len(item.arguments) + _ITEM_OVERHEAD_BYTES
    return len(item.text) + _ITEM_OVERHEAD_BYTES


def estimate_tokens(item: Item) -> int:
    """A lower bound of the item's tokens, for which vendors send no count."""
    if not is_commit_point(item):
        return 0
    if isinstance(item, NativeChunk):
        return max(1, item.pieces)
    return max(1, (estimate_bytes(item) - _ITEM_OVERHEAD_BYTES) // _CHARS_PER_TOKEN)


class MinRate:
    """A minimum rate of tokens over the last `window_s` seconds of waiting for the upstream."""

    def __init__(self, min_tokens_per_s: float, window_s: float) -> None:
        self._min_tokens = min_tokens_per_s * window_s
        self._slot_s = window_s / _WINDOW_SLOTS
        self._slot = self._slot_tokens = 0
        self._past_slots: deque[int] = deque(maxlen=_WINDOW_SLOTS)

    def record_tokens(self, count: int, waited_s: float) -> None:
        """Count tokens received after `waited_s` seconds of waiting in total.

        Raises UpstreamTimeout if the window that has ended had too few.
        """
        slot = int(waited_s / self._slot_s)
        if slot > self._slot:
            self._past_slots.append(self._slot_tokens)
            self._past_slots.extend([0] * min(slot - self._slot - 1, _WINDOW_SLOTS))
            self._slot, self._slot_tokens = slot, 0
            if len(self._past_slots) == _WINDOW_SLOTS and sum(self._past_slots) < self._min_tokens:
                raise UpstreamTimeout("the upstream answers too slowly", phase="stream")
        self._slot_tokens += count


class PacedStream:
    """Pulls items from an adapter. Only content or the end resets the idle timeout."""

    __slots__ = ("_closed", "_idle_timeout", "_min_rate", "_source")

    def __init__(self, source: AsyncGenerator[Item, None], timeouts: StreamTimeouts) -> None:
        self._source = source
        self._closed = False
        self._idle_timeout = IdleTimeout(timeouts.idle_s, timeouts.total_s)
        min_tokens_per_s = timeouts.min_tokens_per_s
        self._min_rate = (
            None if min_tokens_per_s is None else MinRate(min_tokens_per_s, timeouts.idle_s)
        )

    async def next_item(self) -> Item | None:
        """The next item; None when the adapter has no more. Raises ProviderError."""
        idle_timeout = self._idle_timeout
        try:
            async with idle_timeout:
                item = await anext(self._source)
        except StopAsyncIteration:
            return None
        except (ProviderError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise UpstreamProtocol(f"the adapter failed: {type(error).__name__}") from error
        if is_commit_point(item):
            idle_timeout.reset()
            if self._min_rate is not None:
                self._min_rate.record_tokens(estimate_tokens(item), idle_timeout.waited_s)
        return item

    def cancel_timers(self) -> None:
        """Cancel the timers."""
        self._idle_timeout.stop()

    async def aclose(self) -> None:
        """Cancel the timers and close the adapter's generator. May be called twice."""
        self.cancel_timers()
        if not self._closed:
            self._closed = True
            await self._source.aclose()
