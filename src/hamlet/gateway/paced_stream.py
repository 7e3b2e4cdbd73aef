"""The items of one upstream answer, held to the route's pace."""

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
    """How long an answer may take. `idle_s` is the silence between pieces of content, not bytes."""

    idle_s: float
    total_s: float
    min_tokens_per_s: float | None = None


def is_commit_point(item: Item) -> bool:
    """Whether the item is the first that a caller would see."""
    return item.content or item.end if isinstance(item, NativeChunk) else is_content(item)


def estimate_bytes(item: Item) -> int:
    """About how many bytes the item holds in memory."""
    match item:
        case NativeChunk():
            return len(item.data) + _ITEM_OVERHEAD_BYTES
        case Started() | Finished():
            return _ITEM_OVERHEAD_BYTES
        case ToolCallDelta():
            return len(item.arguments) + _ITEM_OVERHEAD_BYTES
    return len(item.text) + _ITEM_OVERHEAD_BYTES


def estimate_tokens(item: Item) -> int:
    """At least how many tokens the item is worth, from a vendor that tells no counts."""
    if not is_commit_point(item):
        return 0
    if isinstance(item, NativeChunk):
        return max(1, item.pieces)
    return max(1, (estimate_bytes(item) - _ITEM_OVERHEAD_BYTES) // _CHARS_PER_TOKEN)


class MinRate:
    """Watches the tokens of the last `window_s` seconds of waiting."""

    def __init__(self, min_tokens_per_s: float, window_s: float) -> None:
        self._min_tokens = min_tokens_per_s * window_s
        self._slot_s = window_s / _WINDOW_SLOTS
        self._slot = self._slot_tokens = 0
        self._past_slots: deque[int] = deque(maxlen=_WINDOW_SLOTS)

    def record_tokens(self, count: int, waited_s: float) -> None:
        """Count tokens that came after `waited_s` seconds in all. Raises UpstreamTimeout."""
        slot = int(waited_s / self._slot_s)
        if slot > self._slot:
            self._past_slots.append(self._slot_tokens)
            self._past_slots.extend([0] * min(slot - self._slot - 1, _WINDOW_SLOTS))
            self._slot, self._slot_tokens = slot, 0
            if len(self._past_slots) == _WINDOW_SLOTS and sum(self._past_slots) < self._min_tokens:
                raise UpstreamTimeout("the upstream answers too slowly", phase="stream")
        self._slot_tokens += count


class PacedStream:
    """Pulls items from an adapter. Only content, or the end, counts as a sign of life."""

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
        """Disarm the timers."""
        self._idle_timeout.stop()

    async def aclose(self) -> None:
        """Disarm the timers and close the adapter's answer. May be called twice."""
        self.cancel_timers()
        if not self._closed:
            self._closed = True
            await self._source.aclose()
