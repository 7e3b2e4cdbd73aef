"""How long the new arm may take to begin: one timer for all requests under the same limit."""

from __future__ import annotations

import asyncio


class Limit:
    """Cancels one task unless it is cancelled itself before."""

    __slots__ = ("_expired", "_of", "_task")

    def __init__(self, of: Limits, task: asyncio.Task[object]) -> None:
        self._of, self._task = of, task
        self._expired = False

    def cancel(self) -> None:
        """The answer has begun, or there will be none."""
        self._of.due.pop(self, None)

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()

    def hit(self) -> bool:
        """Whether the cancellation that has arrived is this one's alone."""
        return self._expired and self._task.uncancel() <= 0


class Limits:
    """Limits of so many seconds each. A timer per request would cost more than the routing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # They end in the order in which they began.
        self.due: dict[Limit, float] = {}
        self._armed = False

    def begin(self) -> Limit:
        """A limit on the running task."""
        task = asyncio.current_task()
        assert task is not None
        loop, limit = asyncio.get_running_loop(), Limit(self, task)
        self.due[limit] = loop.time() + self._seconds
        if not self._armed:
            self._armed = True
            loop.call_later(self._seconds, self._look, loop)
        return limit

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self.due:
            limit, due = next(iter(self.due.items()))
            if due > now:
                loop.call_later(due - now, self._look, loop)
                return
            del self.due[limit]
            limit.expire()
        self._armed = False
