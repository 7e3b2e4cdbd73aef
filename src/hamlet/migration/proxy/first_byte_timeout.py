"""How long the new arm may take to begin: one timer for all requests under the same limit."""

from __future__ import annotations

import asyncio


class FirstByteTimeout:
    """Cancels one task unless it is cancelled itself before."""

    __slots__ = ("_has_expired", "_owner", "_task")

    def __init__(self, owner: FirstByteTimeouts, task: asyncio.Task[object]) -> None:
        self._owner, self._task = owner, task
        self._has_expired = False

    def cancel(self) -> None:
        """The answer has begun, or there will be none."""
        self._owner.deadlines.pop(self, None)

    def expire(self) -> None:
        """The time is over."""
        self._has_expired = True
        self._task.cancel()

    def consume_cancellation(self) -> bool:
        """Whether the cancellation that has arrived is this one's alone."""
        return self._has_expired and self._task.uncancel() <= 0


class FirstByteTimeouts:
    """Limits of so many seconds each. A timer per request would cost more than the routing."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        # They end in the order in which they began.
        self.deadlines: dict[FirstByteTimeout, float] = {}
        self._is_scheduled = False

    def start_timer(self) -> FirstByteTimeout:
        """A limit on the running task."""
        task = asyncio.current_task()
        assert task is not None
        loop, limit = asyncio.get_running_loop(), FirstByteTimeout(self, task)
        self.deadlines[limit] = loop.time() + self._timeout_s
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_later(self._timeout_s, self._expire_due, loop)
        return limit

    def _expire_due(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self.deadlines:
            limit, due = next(iter(self.deadlines.items()))
            if due > now:
                loop.call_later(due - now, self._expire_due, loop)
                return
            del self.deadlines[limit]
            limit.expire()
        self._is_scheduled = False
