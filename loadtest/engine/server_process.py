"""`hamlet serve` as a process of its own, started the way users start it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = STOP_TIMEOUT_S = 60.0


@dataclass
class ServerProcess:
    """A running `hamlet serve`. Its log goes to the file `log`."""

    process: asyncio.subprocess.Process
    url: str
    log: Path

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self, within_s: float = STOP_TIMEOUT_S) -> int:
        """The exit status. Raises TimeoutError."""
        return await asyncio.wait_for(self.process.wait(), within_s)

    async def terminate(self) -> int:
        """Send SIGTERM and wait for the exit status; SIGKILL after a minute."""
        if self.process.returncode is not None:
            return self.process.returncode
        self.process.terminate()
        try:
            return await self.wait()
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers that it supervises."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextmanager
def config_file(text: str) -> Iterator[Path]:
    """A configuration in a file that is deleted, with the logs beside it, when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hamlet.yaml")
        file.write_text(text, "utf-8")
        yield file


@asynccontextmanager
async def run_server_process(
    config: Path,
    *options: str,
    environment: Mapping[str, str] = {},
    fds: Sequence[int] = (),
    program: Sequence[str] = ("-m", "hamlet"),
) -> AsyncIterator[ServerProcess]:
    """`hamlet serve` on a free port; terminated when the block ends.

    The address is read from the first line of its output, so it listens, but need not be ready yet:
    see `wait_until_ok`. `program` are the arguments that make Python run hamlet. Raises RuntimeError
    with the log if the process ends or is silent for a minute.
    """
    log = config.with_suffix(f".{os.urandom(4).hex()}.log")
    words = (*program, "serve", "--port", "0", "--config", str(config), *options)
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=sink,
            env={**os.environ, **environment},
            pass_fds=fds,
        )
    server = ServerProcess(process, "", log)
    try:
        server.url = await _read_address(server)
        yield server
    finally:
        await server.terminate()


async def _read_address(server: ServerProcess) -> str:
    assert server.process.stdout
    try:
        line = await asyncio.wait_for(server.process.stdout.readline(), START_TIMEOUT_S)
    except TimeoutError:
        line = b""
    found = re.search(rb"http://\S+", line)
    if found is None:
        raise RuntimeError(f"hamlet does not serve: {server.log.read_text()}")
    return found[0].decode()
