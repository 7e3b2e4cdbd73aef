"""How long the new arm may take to send its first byte."""

from __future__ import annotations

import asyncio

from hamlet.net.timers.timer_wheel import running_wheel


class FirstByteTimeout:
    """Cancels the running task after `timeout_s` seconds, unless `cancel` is called before.

    On the timer wheel, and so up to 50 ms late: a timer of the loop for each request would cost
    more than the routing.
    """

    __slots__ = ("_has_expired", "_slot", "_task", "_wheel")

    def __init__(self, timeout_s: float) -> None:
        """Start the timer."""
        task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._task, self._has_expired = task, False
        self._wheel = running_wheel()
        self._slot = self._wheel.schedule(self._wheel.loop.time() + timeout_s, self)

    def cancel(self) -> None:
        """The response has begun, or there will be none. Idempotent."""
        self._wheel.cancel(self._slot, self)

    def expire(self) -> None:
        """Cancel the task."""
        self._has_expired = True
        self._task.cancel()

    def consume_cancellation(self) -> bool:
        """Whether the cancellation that has arrived is this timeout's alone."""
        return self._has_expired and self._task.uncancel() <= 0
