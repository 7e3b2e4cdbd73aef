"""The main screen under load: an open loop of suggestions, healthy and with every upstream down.

    python loadtest/suggest.py [SECONDS] [PER_SECOND]

"down" means: the model hangs, the web sources refuse connections. Prints percentiles of what the
client waited, the share of answers over budget + 20 ms, and the number of empty ones.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from hamlet.content import shipped_chips as shipped
from hamlet.testing import Canned, LoopbackUpstream

BUDGET_MS = 200
HEALTHY = """
providers: {{embedded: {{kind: embedded}}}}
routes: {{hamlet: {{deployments: [{{provider: embedded, model: embedded-chat}}]}}}}
telemetry: {{log_level: error}}
"""
DOWN = """
providers: {{model: {{kind: openai, base_url: "{hang}"}}}}
routes: {{chips: {{deployments: [{{provider: model, model: gpt-4o-mini}}]}}}}
suggest: {{chip_route: chips, sources: {{web: {{kind: searxng, base_url: "{refuse}"}}}}}}
telemetry: {{log_level: error}}
"""


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def serve(config: str) -> tuple[subprocess.Popen[str], str]:
    """hamlet's process and address."""
    file = Path(tempfile.mkdtemp()) / "suggest.yaml"
    file.write_text(config)
    command = [sys.executable, "-m", "hamlet", "serve", "--port", "0", "--config", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    return process, address[0]


async def load(name: str, url: str, seconds: float, per_second: float) -> None:
    """Send at a fixed rate, whatever comes back, and print one row."""
    rng = random.Random(7)
    queries = [text for intent in shipped() for text in intent.tags.values() if text]
    waits: list[float] = []
    late = empty = failed = 0

    async def one(http: aiohttp.ClientSession) -> None:
        nonlocal late, empty, failed
        words = rng.choice(queries).split()
        query = " ".join(rng.sample(words, min(len(words), 3)))
        body: dict[str, Any] = {"context": {"query": query}, "budget_ms": BUDGET_MS}
        start = time.perf_counter()
        async with http.post(f"{url}/v1/suggest", json=body) as response:
            shown = await response.json()
        waits.append((time.perf_counter() - start) * 1000)
        if response.status != 200:
            failed += 1
            return
        late += shown["timing"]["total_ms"] > BUDGET_MS + 20
        empty += not (shown["chips"]["items"] and shown["links"]["items"])

    async with aiohttp.ClientSession() as http:
        for _ in range(300):
            try:
                await one(http)
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
        waits.clear()
        async with asyncio.TaskGroup() as group:
            begin = time.perf_counter()
            for i in range(int(seconds * per_second)):
                await asyncio.sleep(max(0.0, begin + i / per_second - time.perf_counter()))
                group.create_task(one(http))
    waits.sort()
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    print(
        f"{name:8} {len(waits)} requests at {per_second:g}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"max {waits[-1]:.1f} ms, over budget + 20 ms {late}, empty {empty}, not 200 {failed}"
    )


async def main(seconds: float, per_second: float) -> None:
    """Both rows."""
    async with LoopbackUpstream() as hang:
        hang.reply(Canned(before="hang"))
        down = DOWN.format(hang=hang.url, refuse=f"http://127.0.0.1:{closed_port()}")
        for name, config in (("healthy", HEALTHY.format()), ("down", down)):
            process, url = serve(config)
            try:
                await load(name, url, seconds, per_second)
            finally:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    asyncio.run(main(*(given + [60.0, 37.5][len(given) :])))
