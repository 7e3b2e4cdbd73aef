"""Rolling restarts under load: not one request may fail.

    python -m loadtest.restarts [--restarts 10] [--requests 30000] [--rps 100] [--streams 200] [--tokens 24]

`hamlet serve --workers 2` on the embedded provider; requests leave on a schedule fixed in advance
(open loop) over kept connections, beside so many streams that are open all the time (TOKENS each, 4/s). SIGUSR2 comes
at even intervals. Nothing is retried. Status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

CONFIG = """
providers:
  quick: {kind: embedded, tokens_per_s: 0}
  slow: {kind: embedded, tokens_per_s: 4}
routes:
  quick: {deployments: [{provider: quick, model: embedded-chat}]}
  slow: {deployments: [{provider: slow, model: embedded-chat}]}
"""
_ASK = [{"role": "user", "content": "How late does the subway run in Seoul on Sundays?"}]


@dataclass
class Tally:
    """What became of everything that was sent."""

    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def failed(self, what: str, why: object) -> None:
        self.failures.append(f"{what}: {why!r}")


async def one(http: aiohttp.ClientSession, url: str, tally: Tally, due: float) -> None:
    """A whole answer, timed from when it was to be sent."""
    body = {"model": "quick", "messages": _ASK, "max_tokens": 8}
    try:
        async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
            if answer.status != 200 or '"finish_reason"' not in text:
                return tally.failed("call", (answer.status, text[:200]))
    except Exception as error:
        return tally.failed("call", error)
    tally.done["calls"] += 1
    tally.latencies.append(time.perf_counter() - due)


async def streams(
    http: aiohttp.ClientSession, url: str, tokens: int, tally: Tally, end: asyncio.Event
) -> None:
    """One stream after the other, each to its end."""
    body = {"model": "slow", "stream": True, "messages": _ASK, "max_tokens": tokens}
    while not end.is_set():
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
                text = await answer.text()
                if answer.status == 200 and text.endswith("data: [DONE]\n\n"):
                    tally.done["streams"] += 1
                else:
                    tally.failed("stream", (answer.status, text[-200:]))
        except Exception as error:
            tally.failed("stream", error)


async def load(
    url: str, asked: argparse.Namespace, pid: int, restarted: Callable[[], int]
) -> Tally:
    """The schedule, the streams beside it, and the signals."""
    tally, end = Tally(), asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        open_ones = [
            asyncio.create_task(streams(http, url, asked.tokens, tally, end))
            for _ in range(asked.streams)
        ]
        await asyncio.sleep(0.5)
        calls: set[asyncio.Task[None]] = set()
        every = asked.requests // (asked.restarts + 1)
        begin = time.perf_counter()
        for i in range(asked.requests):
            due = begin + i / asked.rps
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.add(asyncio.create_task(one(http, url, tally, due)))
            if i and i % every == 0 and i // every <= asked.restarts:
                os.kill(pid, signal.SIGUSR2)
        await asyncio.gather(*calls)
        for _ in range(600):
            if restarted() >= asked.restarts:
                break
            await asyncio.sleep(0.1)
        end.set()
        await asyncio.gather(*open_ones)
    return tally


async def run(
    asked: argparse.Namespace, file: Path, sink: IO[bytes], restarted: Callable[[], int]
) -> tuple[Tally, int]:
    """Start hamlet, load it, stop it; what became of the load, and hamlet's exit status."""
    words = ("-m", "hamlet", "serve", "--port", "0", "--workers", "2", "--config", str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, stderr=sink
    )
    try:
        assert process.stdout
        greeting = re.search(rb"http://\S+", await process.stdout.readline())
        assert greeting
        tally = await load(greeting[0].decode(), asked, process.pid, restarted)
    finally:
        process.terminate()
        status = await process.wait()
    return tally, status


def main(asked: argparse.Namespace) -> int:
    """Run, and tell."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "hamlet.yaml"), Path(folder, "log")
        file.write_text(CONFIG)

        def restarted() -> int:
            return log.read_text().count('"restart.done"')

        with log.open("wb") as sink:
            tally, status = asyncio.run(run(asked, file, sink, restarted))
        restarts = restarted()
    tally.latencies.sort()
    p50, p99 = (tally.latencies[int(len(tally.latencies) * q)] * 1000 for q in (0.5, 0.99))
    print(
        f"{restarts} rolling restarts, {asked.rps:g} requests/s, {asked.streams} streams open: "
        f"{tally.done['calls']} calls and {tally.done['streams']} streams done, "
        f"{len(tally.failures)} failed; p50 {p50:.1f} ms, p99 {p99:.0f} ms; status {status}"
    )
    for failure, count in Counter(tally.failures).most_common(10):
        print(f"  {count} x {failure}")
    return int(bool(tally.failures) or restarts != asked.restarts or status != 0)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name, standard in (
        ("restarts", 10),
        ("requests", 30_000),
        ("streams", 200),
        ("tokens", 24),
    ):
        parser.add_argument(f"--{name}", type=int, default=standard)
    parser.add_argument("--rps", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_asked()))
