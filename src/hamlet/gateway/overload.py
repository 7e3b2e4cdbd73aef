"""Overload of this process, measured by event loop lag, memory and open files."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Literal

_SAMPLE_INTERVAL_S, _WINDOW_S = 0.1, 1.0
_MAX_LAG_S = 0.1
_MAX_USED_SHARE = 0.85
_MAX_LEVEL, _MAX_LAG_LEVEL = 3, 2
_PAGE_BYTES = resource.getpagesize()
OverloadReason = Literal["lag", "memory", "files"]
_CGROUP_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


class OverloadMonitor:
    """`level` rises by one for each second of overload, and falls as fast; `reason` says why.

    In overload the loop lags 100 ms all through a second, or memory or open files are at 85 % of
    their limits. Only the latter raise the level to 3, at which critical calls are shed: a loop
    that lags, as under a CPU limit, makes calls slower, and refusing them all would help nobody.
    It never makes hamlet unready: a load balancer would then take all replicas out.
    """

    def __init__(
        self,
        memory_limit_bytes: int | None = None,
        on_lag: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_lag` gets the lag of the loop in seconds, ten times a second."""
        self._on_lag = on_lag
        self.level = 0
        self.reason: OverloadReason | None = None
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
            self.update_level(
                self._exhausted_resource() or ("lag" if min_lag_s > _MAX_LAG_S else None)
            )

    def update_level(self, reason: OverloadReason | None) -> None:
        """Account for the last second: overloaded for this reason, or not at all."""
        if reason is None:
            self.level = max(self.level - 1, 0)
        elif reason == "lag":
            # What a resource has raised higher falls back to what lag alone may shed.
            self.level = min(self.level + 1, max(_MAX_LAG_LEVEL, self.level - 1))
        else:
            self.level = min(self.level + 1, _MAX_LEVEL)
        self.reason = reason or (self.reason if self.level else None)

    def _exhausted_resource(self) -> OverloadReason | None:
        if self._memory_used_share() > _MAX_USED_SHARE:
            return "memory"
        return "files" if _open_files_share() > _MAX_USED_SHARE else None

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
