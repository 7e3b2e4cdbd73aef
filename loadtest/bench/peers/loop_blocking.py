"""How long one large call blocks hamlet's event loop: `hamlet serve` with a probe in its loop.

    python -m loadtest.bench.peers.loop_blocking PORT CONFIG CELL

The probe runs in every iteration of the loop and keeps the CPU time of the longest one, which other
programs on the core cannot lengthen. It is in the file CELL (a double, in seconds), where the reader
resets it.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamlet.app import Hamlet
from hamlet.config import load
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.serving import bind, run
from hamlet.spi import ProviderSettings
from loadtest.bench.gateways import HAMLET, KEY
from loadtest.bench.stand import CHAT, Bench
from loadtest.engine.processes import Process, free_port, wait_until_ready
from loadtest.engine.quantiles import quantile

SIZES = (1_000, 1_000_000)
_CELL = struct.Struct("d")


@dataclass(frozen=True, slots=True)
class LoopBlocking:
    """The longest loop iteration during calls of one size, in milliseconds of CPU time."""

    size: int
    calls: int
    p50_ms: float
    p95_ms: float
    worst_ms: float


async def measure_loop_blocking(bench: Bench, calls: int) -> list[LoopBlocking]:
    """Serial calls of each size with a small response, through a fully configured hamlet."""
    folder, port = bench.folder / "held", free_port()
    folder.mkdir()
    config, cell = folder / "hamlet.yaml", folder / "cell"
    row = {"kind": "openai", "base": "/v1", "model": "gpt-4o-mini", "ca": ""}
    config.write_text(HAMLET.format(upstream=bench.plain_url, transport="httptools", **row))
    cell.write_bytes(_CELL.pack(0.0))
    command = [
        sys.executable,
        "-m",
        "loadtest.bench.peers.loop_blocking",
        str(port),
        str(config),
        str(cell),
    ]
    process = Process(command, log=folder / "log", env={"BENCH_KEY": KEY}, cpu=0)
    bench.processes.append(process)
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(f"{url}/readyz", process, 60)
    http = HttptoolsTransport(ProviderSettings(base_url=url), {"authorization": f"Bearer {KEY}"})
    try:
        with cell.open("r+b") as file, mmap.mmap(file.fileno(), _CELL.size) as shared:
            return [await _measure_calls(http, shared, size, calls) for size in SIZES]
    finally:
        await http.aclose()
        # The probe uses the whole core: nothing else could be measured.
        process.stop()
        bench.processes.remove(process)


async def _measure_calls(
    http: HttptoolsTransport, cell: mmap.mmap, size: int, calls: int
) -> LoopBlocking:
    turns = [{"role": "user", "content": "What is in this? " + "word after word\n" * (size // 16)}]
    body = json.dumps({"model": "gpt-4o-mini", "messages": turns}).encode()
    longest = []
    for number in range(calls + 5):
        _CELL.pack_into(cell, 0, 0.0)
        async with http.stream("POST", CHAT, content=body) as reply:
            await reply.aread()
            if reply.status != 200:
                raise RuntimeError(f"status {reply.status}")
        # The log line and whatever else follows the response belong to the call.
        await asyncio.sleep(0.005)
        if number >= 5:
            longest.append(_CELL.unpack_from(cell, 0)[0])
    return _summarize(len(body), longest)


def _summarize(size: int, longest: Sequence[float]) -> LoopBlocking:
    p50, p95 = ((quantile(longest, q) or 0.0) * 1000 for q in (0.5, 0.95))
    return LoopBlocking(size, len(longest), p50, p95, max(longest) * 1000)


def main(port: int, config: Path, cell: Path) -> None:
    """Serve hamlet with the probe."""
    loaded = load(config)
    with cell.open("r+b") as file, mmap.mmap(file.fileno(), _CELL.size) as shared:

        def on_started() -> None:
            loop, last = asyncio.get_running_loop(), time.thread_time()

            def on_loop_turn() -> None:
                nonlocal last
                now = time.thread_time()
                if now - last > _CELL.unpack_from(shared, 0)[0]:
                    _CELL.pack_into(shared, 0, now - last)
                last = now
                loop.call_soon(on_loop_turn)

            on_loop_turn()

        server, telemetry = loaded.config.server, loaded.config.telemetry
        run(Hamlet(loaded), bind("127.0.0.1", port), server, telemetry, on_started)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
