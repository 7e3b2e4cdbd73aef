"""Timers for waits: one over many short ones, and one for a single wait; both cheap."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from hamlet.core.errors import UpstreamTimeout
from hamlet.net.timers.timer_wheel import running_wheel


class IdleTimeout:
    """Bounds the waiting between two `fed()` by `idle_s`, and everything by `total_s` seconds.

    Use as `async with watchdog:` around each wait. Time spent outside of waits, say by a slow
    reader, does not count as silence. asyncio.timeout would arm and disarm a timer for every event
    of a stream; this one re-arms only when it goes off, and is forgotten if nobody waits then.
    """

    __slots__ = (
        "_deadline",
        "_due",
        "_fired",
        "_idle_s",
        "_remaining_s",
        "_slot",
        "_wait_started_at",
        "_waiter",
        "_wheel",
        "waited_s",
    )  # fmt: skip

    def __init__(self, idle_s: float, total_s: float = math.inf) -> None:
        self.waited_s = 0.0
        self._wheel = running_wheel()
        now = self._wheel.loop.time()
        self._idle_s = self._remaining_s = idle_s
        self._deadline = now + total_s
        self._wait_started_at = self._due = 0.0
        self._waiter: asyncio.Task[object] | None = None
        self._fired = False
        self._slot: int | None = None
        self._arm(now + min(idle_s, total_s))

    def reset(self) -> None:
        """What was waited for has come: the next may take `idle_s` again."""
        self._remaining_s = self._idle_s

    async def __aenter__(self) -> None:
        now = self._wait_started_at = self._wheel.loop.time()
        if now >= self._deadline:
            raise UpstreamTimeout("the answer took too long", phase="stream")
        self._due = min(now + self._remaining_s, self._deadline)
        self._waiter = asyncio.current_task()
        if self._slot is None:
            self._arm(self._due)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        waiter, self._waiter = self._waiter, None
        waited = self._wheel.loop.time() - self._wait_started_at
        self.waited_s += waited
        self._remaining_s = max(0.0, self._remaining_s - waited)
        if not self._fired or waiter is None:
            return
        self._fired = False
        # Someone else's cancellation counts for more than ours.
        if waiter.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise UpstreamTimeout("the upstream fell silent", phase="stream") from None

    def stop(self) -> None:
        """Disarm until the next wait."""
        if self._slot is not None:
            self._wheel.cancel(self._slot, self)
            self._slot = None

    def expire(self) -> None:
        self._slot = None
        if self._waiter is None:
            # The next wait arms it again, if there is one.
            return
        if self._wheel.loop.time() >= self._due:
            self._fired = True
            self._waiter.cancel()
        else:
            self._arm(self._due)

    def _arm(self, at: float) -> None:
        if at < math.inf:
            self._slot = self._wheel.schedule(at, self)


class Deadline:
    """`asyncio.timeout`, for what every call goes through: less than half of its price.

    Use as `with Deadline(seconds) as limit:` around what is awaited. When they are over, the task
    is cancelled and the block raises TimeoutError, unless somebody else cancelled it too.
    """

    __slots__ = ("_prior_cancellations", "_seconds", "_task", "_timer", "expired")
    _task: asyncio.Task[object]
    _timer: asyncio.TimerHandle

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.expired = False

    def __enter__(self) -> Deadline:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "only a task can be cancelled"
        self._task, self._prior_cancellations = task, task.cancelling()
        self._timer = loop.call_later(self._seconds, self._expire)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        ours = self.expired and self._task.uncancel() <= self._prior_cancellations
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()
