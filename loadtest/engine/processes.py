"""Processes: CPU time, memory and descriptors from /proc, and starting and stopping them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def process_tree(pid: int) -> list[int]:
    """The ids of a process and of all its descendants."""
    found = [pid]
    for parent in found:
        for file in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in file.read_text().split()]
            except OSError:
                continue
    return found


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process tree so far."""
    total = 0.0
    for each in process_tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def pss_mib(pid: int) -> float:
    """Proportional memory of a process tree in MiB."""
    total = 0
    for each in process_tree(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:"))
    return total / 1024


def rss_mib(pid: int) -> float:
    """Resident memory of one process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def open_descriptors(pid: int) -> int:
    """Open file descriptors of one process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """All cores since boot, in core-seconds."""

    busy_s: float
    steal_s: float

    @classmethod
    def read(cls) -> CpuTimes:
        fields = [
            int(x) * _TICK_S for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:]
        ]
        user, nice, system, _, _, irq, softirq, steal = fields[:8]
        return cls(user + nice + system + irq + softirq, steal)


def _exit_on_sigterm() -> None:
    """Exit on SIGTERM by an exception, so that child processes are stopped and do not disturb the next run."""
    handler_replaceable = threading.current_thread() is threading.main_thread()
    if handler_replaceable and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class Process:
    """A child process in a session of its own, so that its descendants are stopped with it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] = {},
        cpu: int | None = None,
        cwd: Path | None = None,
    ) -> None:
        pinned = ["taskset", "-c", str(cpu), *command] if cpu is not None else list(command)
        _exit_on_sigterm()
        self.started = time.monotonic()
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                pinned,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        return self._child.poll() is None

    def stop(self) -> None:
        """Terminate it and its descendants; kill them after eight seconds."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, signal_number)
            except ProcessLookupError:
                break
            try:
                self._child.wait(8)
            except subprocess.TimeoutExpired:
                continue
        self._child.wait()


def wait_until_ready(
    url: str,
    process: Process,
    within_s: float,
    body: bytes | None = None,
    extra_headers: Mapping[str, str] = {},
) -> float:
    """Poll a URL; the seconds from the process's start to its first 200. Raises RuntimeError."""
    headers = {
        "content-type": "application/json",
        "authorization": "Bearer sk-bench-1234567890",
        **extra_headers,
    }
    while process.is_alive and time.monotonic() - process.started < within_s:
        try:
            request = urllib.request.Request(url, body, headers)  # noqa: S310
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                if answer.status == 200:
                    return time.monotonic() - process.started
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{url} did not answer")
