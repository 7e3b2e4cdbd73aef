"""Timers for waits: one over many short ones, and one for a single wait; both cheap."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from hamlet.core.errors import UpstreamTimeout

_TICK_S = 0.05


class Watchdog:
    """Bounds the waiting between two `fed()` by `idle_s`, and everything by `total_s` seconds.

    Use as `async with watchdog:` around each wait. Time spent outside of waits, say by a slow
    reader, does not count as silence. asyncio.timeout would arm and disarm a timer for every event
    of a stream; this one re-arms only when it goes off.
    """

    __slots__ = (
        "_barked", "_began", "_due", "_end", "_idle_s", "_left_s", "_loop", "_timer", "_waiter",
        "waited_s",
    )  # fmt: skip

    def __init__(self, idle_s: float, total_s: float = math.inf) -> None:
        self.waited_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._idle_s = self._left_s = idle_s
        self._end = self._loop.time() + total_s
        self._began = self._due = 0.0
        self._waiter: asyncio.Task[object] | None = None
        self._barked = False
        self._timer = self._loop.call_later(min(idle_s, total_s), self._look)

    def fed(self) -> None:
        """What was waited for has come: the next may take `idle_s` again."""
        self._left_s = self._idle_s

    async def __aenter__(self) -> None:
        now = self._began = self._loop.time()
        if now >= self._end:
            raise UpstreamTimeout("the answer took too long", phase="stream")
        self._due = min(now + self._left_s, self._end)
        self._waiter = asyncio.current_task()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        waiter, self._waiter = self._waiter, None
        waited = self._loop.time() - self._began
        self.waited_s += waited
        self._left_s = max(0.0, self._left_s - waited)
        if not self._barked or waiter is None:
            return
        self._barked = False
        # Someone else's cancellation counts for more than ours.
        if waiter.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise UpstreamTimeout("the upstream fell silent", phase="stream") from None

    def stop(self) -> None:
        """Disarm for good."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._waiter is None:
            self._timer = self._loop.call_at(now + max(self._left_s, _TICK_S), self._look)
        elif now >= self._due:
            self._barked = True
            self._waiter.cancel()
        else:
            self._timer = self._loop.call_at(self._due, self._look)


class Deadline:
    """`asyncio.timeout`, for what every call goes through: less than half of its price.

    Use as `with Deadline(seconds) as limit:` around what is awaited. When they are over, the task
    is cancelled and the block raises TimeoutError, unless somebody else cancelled it too.
    """

    __slots__ = ("_before", "_seconds", "_task", "_timer", "expired")
    _task: asyncio.Task[object]
    _timer: asyncio.TimerHandle

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.expired = False

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._task, self._before = task, task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._ring)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        ours = self.expired and self._task.uncancel() <= self._before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _ring(self) -> None:
        self.expired = True
        self._task.cancel()
