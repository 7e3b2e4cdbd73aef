"""The timeout for the new arm's first byte: one timer for all requests with the same timeout."""

from __future__ import annotations

import asyncio


class FirstByteTimeout:
    """Cancels one task unless the timeout is cancelled first."""

    __slots__ = ("_has_expired", "_owner", "_task")

    def __init__(self, owner: FirstByteTimeouts, task: asyncio.Task[object]) -> None:
        self._owner, self._task = owner, task
        self._has_expired = False

    def cancel(self) -> None:
        """Disarm the timeout: the response has started, or the call is over."""
        self._owner.deadlines.pop(self, None)

    def expire(self) -> None:
        """Cancel the task."""
        self._has_expired = True
        self._task.cancel()

    def consume_cancellation(self) -> bool:
        """Whether the task's cancellation came from this timeout alone; if so, it is absorbed."""
        return self._has_expired and self._task.uncancel() <= 0


class FirstByteTimeouts:
    """Timeouts of equal length. A timer for each request would cost more than the routing."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        # In the order in which they expire.
        self.deadlines: dict[FirstByteTimeout, float] = {}
        self._is_scheduled = False

    def start_timer(self) -> FirstByteTimeout:
        """Start a timeout for the current task."""
        task = asyncio.current_task()
        assert task is not None
        loop, timeout = asyncio.get_running_loop(), FirstByteTimeout(self, task)
        self.deadlines[timeout] = loop.time() + self._timeout_s
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_later(self._timeout_s, self._expire_due, loop)
        return timeout

    def _expire_due(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self.deadlines:
            timeout, due = next(iter(self.deadlines.items()))
            if due > now:
                loop.call_later(due - now, self._expire_due, loop)
                return
            del self.deadlines[timeout]
            timeout.expire()
        self._is_scheduled = False
