"""Several worker processes on one socket, replaced one by one without a refused connection."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from hamlet.spi import Log

_READY_TIMEOUT_S = 60.0
_RESTART_BACKOFF_S = (0.2, 10.0)
# A worker's exit status if its configuration is wrong; starting it again would not help.
_CONFIG_ERROR_STATUS = 2


@dataclass(slots=True, eq=False)
class Worker:
    """One process. It reports on `channel` that it serves, and drains if the other end closes."""

    process: asyncio.subprocess.Process
    channel: socket.socket
    ready: asyncio.Future[bool]
    retiring: bool = False
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Owns the listening socket and keeps `count` workers on it.

    SIGTERM and SIGINT stop all workers, after each has drained. SIGHUP is passed on: they reload
    their configuration. SIGUSR2 replaces the workers one by one: first a new one serves, then an
    old one drains. A worker that dies is replaced; one that does not become ready is killed and the
    old one stays.
    """

    def __init__(
        self, command: Sequence[str], sock: socket.socket, count: int, log: Log, kill_after_s: float
    ) -> None:
        """`command` starts a worker, which serves on the socket that it gets as `--fd N`."""
        self._command = tuple(command)
        self._sock, self._count, self._log = sock, count, log
        self._kill_after_s = kill_after_s
        self._workers: list[Worker] = []
        self._stopping = asyncio.Event()
        self._restart_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._exit_status = 0
        self._last_signal = signal.SIGTERM

    async def run(self, on_started: Callable[[], None] = lambda: None) -> int:
        """Serve until a signal; returns the exit status. `on_started`: all workers serve."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._forward_signal, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn(self._replace_all()))
        first = await asyncio.gather(*(self._start_worker() for _ in range(self._count)))
        if not all(first) and not self._stopping.is_set():
            self._exit_status = self._exit_status or 1
            self._stop()
        else:
            on_started()
        await self._stopping.wait()
        await self._shut_down_workers()
        return self._exit_status

    # -- workers

    async def _start_worker(self) -> Worker | None:
        """Start a worker; returns it when it serves, or None if it never does."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fds = (self._sock.fileno(), theirs.fileno())
        args = ("--fd", str(fds[0]), "--line-fd", str(fds[1]))
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command, *args, pass_fds=fds, start_new_session=True
            )
        worker = Worker(process, ours, asyncio.get_running_loop().create_future())
        self._workers.append(worker)
        worker.watcher = self._spawn(self._monitor(worker))
        ready = await _wait_until_ready(ours)
        worker.ready.set_result(ready)
        if not ready:
            await self._kill_unready(worker)
            return None
        self._log.info("worker.ready", pid=process.pid)
        return worker

    async def _kill_unready(self, worker: Worker) -> None:
        worker.retiring = True
        if worker.process.returncode is None:
            worker.process.kill()
        status = await worker.process.wait()
        self._exit_status = status if status == _CONFIG_ERROR_STATUS else self._exit_status
        self._log.error("worker.not_ready", pid=worker.process.pid, status=status)

    async def _monitor(self, worker: Worker) -> None:
        """Wait until a worker exits, and replace it if that was not intended."""
        status = await worker.process.wait()
        worker.channel.close()
        self._workers.remove(worker)
        if worker.retiring or self._stopping.is_set() or not worker.ready.done():
            return
        self._log.error("worker.died", pid=worker.process.pid, status=status)
        pause, longest = _RESTART_BACKOFF_S
        while not self._stopping.is_set() and await self._start_worker() is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _replace_all(self) -> None:
        async with self._restart_lock:
            for old in [w for w in self._workers if not w.retiring]:
                if self._stopping.is_set() or await self._start_worker() is None:
                    self._log.error("restart.given_up")
                    return
                self._retire(old)
            self._log.info("restart.done", workers=self._count)

    def _retire(self, worker: Worker) -> None:
        worker.retiring = True
        _send_signal(worker, self._last_signal)
        self._spawn(self._kill_after_timeout(worker))

    async def _kill_after_timeout(self, worker: Worker) -> None:
        try:
            await asyncio.wait_for(worker.process.wait(), self._kill_after_s)
        except TimeoutError:
            self._log.error("worker.killed", pid=worker.process.pid)
            worker.process.kill()

    # -- signals

    def _forward_signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            _send_signal(worker, number)

    def _stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._stopping.is_set():
            # A second signal makes the workers skip their waits.
            self._forward_signal(number)
        self._last_signal = number
        self._stopping.set()

    async def _shut_down_workers(self) -> None:
        for worker in list(self._workers):
            self._retire(worker)
        watchers = [w.watcher for w in self._workers if w.watcher is not None]
        await asyncio.gather(*watchers, return_exceptions=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def worker_command(args: Sequence[str]) -> list[str]:
    """The command that starts hamlet again, in the version installed by then."""
    return [sys.executable, "-m", "hamlet", "serve", *args]


def _send_signal(worker: Worker, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)


async def _wait_until_ready(channel: socket.socket) -> bool:
    """Wait for the byte that a serving worker sends; False if it exits first, or is late."""
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            return await asyncio.get_running_loop().sock_recv(channel, 1) != b""
    except (TimeoutError, OSError):
        return False
