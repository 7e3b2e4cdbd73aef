"""Whether this process can still keep up, by the lag of its loop, its memory and its files."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

_EVERY_S, _LOOK_S = 0.1, 1.0
_LAG_S = 0.1
_FULL = 0.85
_MOST = 3
_PAGE = resource.getpagesize()
_CGROUP = Path("/sys/fs/cgroup/memory.max")


class Distress:
    """`level` rises by one for each second of distress, up to 3, and falls as fast.

    In distress the loop lags 100 ms all through a second, or memory or open files are at 85 % of
    their limits. It never makes hamlet unready: a balancer would then take all of them out.
    """

    def __init__(
        self, memory_limit: int | None = None, heard: Callable[[float], None] = lambda _: None
    ) -> None:
        """`heard` is told how late the loop woke up, in seconds, ten times a second."""
        self._heard = heard
        self.level = 0
        self.lag_s = 0.0
        self._memory_limit = memory_limit or _memory_limit()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def aclose(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun, least = loop.time(), float("inf")
            while loop.time() - begun < _LOOK_S:
                before = loop.time()
                await asyncio.sleep(_EVERY_S)
                self.lag_s = loop.time() - before - _EVERY_S
                self._heard(self.lag_s)
                least = min(least, self.lag_s)
            self.take(lagging=least > _LAG_S, full=self._is_full())

    def take(self, *, lagging: bool, full: bool) -> None:
        """Take in how the last second was."""
        step = 1 if lagging or full else -1
        self.level = min(max(self.level + step, 0), _MOST)

    def _is_full(self) -> bool:
        return self._memory_share() > _FULL or _files_share() > _FULL

    def _memory_share(self) -> float:
        if self._memory_limit is None:
            return 0.0
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * _PAGE / self._memory_limit


def _files_share() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return len(os.listdir("/proc/self/fd")) / limit if limit > 0 else 0.0


def _memory_limit() -> int | None:
    """The container's limit in bytes, if there is one (cgroup v2)."""
    try:
        text = _CGROUP.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
