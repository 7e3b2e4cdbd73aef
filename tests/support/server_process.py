"""hamlet as a process, started as users start it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_CLOCK_OFFSET_PROGRAM = """
import time
right = time.time
time.time = lambda: right() + {}
from hamlet.cli import main
main()
"""


@dataclass
class ServerProcess:
    """A running `hamlet serve` and its log."""

    process: asyncio.subprocess.Process
    url: str
    log: Path

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self, within_s: float = 60.0) -> int:
        """Wait for the process; returns its exit status."""
        return await asyncio.wait_for(self.process.wait(), within_s)

    def worker_pids(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@asynccontextmanager
async def run_server_process(
    config: Path,
    *options: str,
    environment: Mapping[str, str] = {},
    fds: Sequence[int] = (),
    clock_offset_s: float = 0.0,
) -> AsyncIterator[ServerProcess]:
    """Run `hamlet serve` on a free port for the duration of a block; yields when it serves."""
    log = config.with_suffix(f".{os.urandom(4).hex()}.log")
    program = (
        ("-c", _CLOCK_OFFSET_PROGRAM.format(clock_offset_s)) if clock_offset_s else ("-m", "hamlet")
    )
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
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        found = re.search(rb"http://\S+", line)
        assert found, log.read_text()
        yield ServerProcess(process, found[0].decode(), log)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 60)
            except TimeoutError:
                process.kill()
                await process.wait()
