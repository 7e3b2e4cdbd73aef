"""The items of one upstream answer, held to the route's pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from msgspec import Struct

from hamlet.core import ChatEvent, Finished, NativeChunk, Started, ToolCallDelta, is_content
from hamlet.core.errors import ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.spi import Watchdog

Item = ChatEvent | NativeChunk

_SLOTS = 4
_ITEM_BYTES = 200
_CHARS_PER_TOKEN = 4


class Limits(Struct, frozen=True):
    """How long an answer may take. `idle_s` is the silence between pieces of content, not bytes."""

    idle_s: float
    total_s: float
    min_tokens_per_s: float | None = None


def commits(item: Item) -> bool:
    """Whether the item is the first that a caller would see."""
    return item.content or item.end if isinstance(item, NativeChunk) else is_content(item)


def size(item: Item) -> int:
    """About how many bytes the item holds in memory."""
    match item:
        case NativeChunk():
            return len(item.data) + _ITEM_BYTES
        case Started() | Finished():
            return _ITEM_BYTES
        case ToolCallDelta():
            return len(item.arguments) + _ITEM_BYTES
    return len(item.text) + _ITEM_BYTES


def tokens(item: Item) -> int:
    """At least how many tokens the item is worth, from a vendor that tells no counts."""
    if not commits(item):
        return 0
    if isinstance(item, NativeChunk):
        return max(1, item.pieces)
    return max(1, (size(item) - _ITEM_BYTES) // _CHARS_PER_TOKEN)


class Pace:
    """Watches the tokens of the last `window_s` seconds of waiting."""

    def __init__(self, least_per_s: float, window_s: float) -> None:
        self._least = least_per_s * window_s
        self._slot_s = window_s / _SLOTS
        self._slot = self._count = 0
        self._past: deque[int] = deque(maxlen=_SLOTS)

    def note(self, count: int, waited_s: float) -> None:
        """Count tokens that came after `waited_s` seconds in all. Raises UpstreamTimeout."""
        slot = int(waited_s / self._slot_s)
        if slot > self._slot:
            self._past.append(self._count)
            self._past.extend([0] * min(slot - self._slot - 1, _SLOTS))
            self._slot, self._count = slot, 0
            if len(self._past) == _SLOTS and sum(self._past) < self._least:
                raise UpstreamTimeout("the upstream answers too slowly", phase="stream")
        self._count += count


class Flow:
    """Pulls items from an adapter. Only content, or the end, counts as a sign of life."""

    __slots__ = ("_closed", "_pace", "_source", "_watchdog")

    def __init__(self, source: AsyncGenerator[Item, None], limits: Limits) -> None:
        self._source = source
        self._closed = False
        self._watchdog = Watchdog(limits.idle_s, limits.total_s)
        least = limits.min_tokens_per_s
        self._pace = None if least is None else Pace(least, limits.idle_s)

    async def next(self) -> Item | None:
        """The next item; None when the adapter has no more. Raises ProviderError."""
        watchdog = self._watchdog
        try:
            async with watchdog:
                item = await anext(self._source)
        except StopAsyncIteration:
            return None
        except (ProviderError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise UpstreamProtocol(f"the adapter failed: {type(error).__name__}") from error
        if commits(item):
            watchdog.fed()
            if self._pace is not None:
                self._pace.note(tokens(item), watchdog.waited_s)
        return item

    def stop(self) -> None:
        """Disarm the timers."""
        self._watchdog.stop()

    async def aclose(self) -> None:
        """Disarm the timers and close the adapter's answer. May be called twice."""
        self.stop()
        if not self._closed:
            self._closed = True
            await self._source.aclose()
