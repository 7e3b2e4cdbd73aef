"""Overload of this process, measured by event loop lag, memory and open files."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

_SAMPLE_INTERVAL_S, _WINDOW_S = 0.1, 1.0
_MAX_LAG_S = 0.1
_MAX_USED_SHARE = 0.85
_MAX_LEVEL = 3
_PAGE_BYTES = resource.getpagesize()
_CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


class OverloadMonitor:
    """`level` rises by one for each overloaded second, up to 3, and falls by one for any other.

    A second is overloaded if every sample in it lags over 100 ms, or if memory or open files
    exceed 85 % of their limits. Overload does not make hamlet unready, because a load balancer in
    front would then take out all replicas at once.
    """

    def __init__(
        self,
        memory_limit_bytes: int | None = None,
        on_lag: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_lag` gets the lag of the loop in seconds, ten times a second."""
        self._on_lag = on_lag
        self.level = 0
        self.lag_s = 0.0
        self._memory_limit_bytes = memory_limit_bytes or _read_memory_limit()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to sample, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Stop sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            window_start, min_lag_s = loop.time(), float("inf")
            while loop.time() - window_start < _WINDOW_S:
                before = loop.time()
                await asyncio.sleep(_SAMPLE_INTERVAL_S)
                self.lag_s = loop.time() - before - _SAMPLE_INTERVAL_S
                self._on_lag(self.lag_s)
                min_lag_s = min(min_lag_s, self.lag_s)
            self.update_level(lagging=min_lag_s > _MAX_LAG_S, near_limit=self._is_near_limit())

    def update_level(self, *, lagging: bool, near_limit: bool) -> None:
        """Raise or lower the level by the measurements of the last second."""
        step = 1 if lagging or near_limit else -1
        self.level = min(max(self.level + step, 0), _MAX_LEVEL)

    def _is_near_limit(self) -> bool:
        return self._memory_used_share() > _MAX_USED_SHARE or _open_files_share() > _MAX_USED_SHARE

    def _memory_used_share(self) -> float:
        if self._memory_limit_bytes is None:
            return 0.0
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * _PAGE_BYTES / self._memory_limit_bytes


def _open_files_share() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return len(os.listdir("/proc/self/fd")) / limit if limit > 0 else 0.0


def _read_memory_limit() -> int | None:
    """The container's memory limit in bytes (cgroup v2); None if there is none."""
    try:
        text = _CGROUP_MEMORY_MAX.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
