"""A redis-server on a Unix socket that can be killed, paused and started again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path


class RedisServer:
    """One redis-server with its files in `folder`. Its URL stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        """Start it and wait until it accepts connections. Raises RuntimeError if it ends instead."""
        command = ("redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "")
        folder = ("--dir", str(self._folder), "--enable-debug-command", "yes")
        self._process = await asyncio.create_subprocess_exec(
            *command, *folder, *options, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            if b"ready to accept connections" in line:
                return
        raise RuntimeError("redis-server does not start")

    async def execute(self, *arguments: str) -> str:
        """Run one command by redis-cli; its output as text."""
        process = await asyncio.create_subprocess_exec(
            "redis-cli",
            "-s",
            str(self.socket),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return out.decode().strip()

    async def kill(self) -> None:
        """Kill it at once, as the kernel does when memory runs out."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.communicate()

    def pause(self) -> None:
        """Stop it: connections stay open and nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)
