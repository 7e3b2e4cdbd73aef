"""Timeouts for a task that waits: one over the many waits of a stream, one for a single wait."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from hamlet.core.errors import UpstreamTimeout
from hamlet.net.timers.lazy_timer import LazyTimer
from hamlet.net.timers.timer_wheel import running_wheel


class IdleTimeout(LazyTimer):
    """Bounds the waiting between two `reset()` by `idle_s`, and everything by `total_s` seconds.

    Use as `async with idle_timeout:` around each wait. Time spent outside of waits, say by a slow
    reader, does not count as silence. asyncio.timeout would arm and disarm a timer for every event
    of a stream; this one is re-armed when it expires, and not at all if nobody waits then.
    """

    __slots__ = (
        "_deadline",
        "_fired",
        "_idle_s",
        "_remaining_s",
        "_wait_started_at",
        "_waiter",
        "waited_s",
    )  # fmt: skip

    def __init__(self, idle_s: float, total_s: float = math.inf) -> None:
        super().__init__(running_wheel())
        self.waited_s = 0.0
        now = self._wheel.loop.time()
        self._idle_s = self._remaining_s = idle_s
        self._deadline = now + total_s
        self._wait_started_at = 0.0
        self._waiter: asyncio.Task[object] | None = None
        self._fired = False
        self._schedule(now + min(idle_s, total_s))

    def reset(self) -> None:
        """What was waited for has arrived: the next wait may take `idle_s` again."""
        self._remaining_s = self._idle_s

    async def __aenter__(self) -> None:
        now = self._wait_started_at = self._wheel.loop.time()
        if now >= self._deadline:
            raise UpstreamTimeout("the answer took too long", phase="stream")
        self._due = min(now + self._remaining_s, self._deadline)
        self._waiter = asyncio.current_task()
        if self._slot is None:
            self._schedule(self._due)

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
        # Another cancellation of the task takes precedence over the timeout's.
        if waiter.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise UpstreamTimeout("the upstream fell silent", phase="stream") from None

    def stop(self) -> None:
        """Disarm until the next wait."""
        self.cancel_timeout()

    def on_timeout(self) -> None:
        # With nobody waiting it stays disarmed; the next wait arms it.
        if self._waiter is not None:
            self._fired = True
            self._waiter.cancel()


class Deadline:
    """`asyncio.timeout` at less than half of its cost, for the one wait that every call has.

    Use as `with Deadline(timeout_s) as deadline:` around what is awaited. After `timeout_s`
    seconds the task is cancelled and the block raises TimeoutError, unless somebody else
    cancelled the task too. It has a timer of the event loop to itself and not a place on the wheel:
    docs/adr/0024-what-a-call-allocates.md has the measurement.
    """

    __slots__ = ("_prior_cancellations", "_task", "_timeout_s", "_timer", "expired")
    _task: asyncio.Task[object]
    _timer: asyncio.TimerHandle

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.expired = False

    def __enter__(self) -> Deadline:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "only a task can be cancelled"
        self._task, self._prior_cancellations = task, task.cancelling()
        self._timer = loop.call_later(self._timeout_s, self._expire)
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
