"""The Node stand-in for hamlet1, as a process of its own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from support.paths import ROOT

SERVER = ROOT / "tests/hamlet1/server.js"
needs_node = pytest.mark.external("node")


@dataclass
class Hamlet1:
    """A running stand-in at `url`."""

    url: str
    process: asyncio.subprocess.Process

    async def inject_fault(self, **fault: int) -> None:
        """Delay responses (`delayMs`), or fail them (`status`); without arguments, neither."""
        async with httpx2.AsyncClient() as http:
            await http.post(f"{self.url}/_fault", json={"delayMs": 0, "status": 0, **fault})

    async def stop(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def hamlet1(upstream: str, port: int = 0) -> AsyncIterator[Hamlet1]:
    """A stand-in that calls the vendor at the base URL `upstream`."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SERVER),
        env={**os.environ, "UPSTREAM": upstream, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        yield Hamlet1(f"http://127.0.0.1:{int(line)}", process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
