"""Rolling restarts under load: not one request may fail.

    python -m loadtest.scenarios.rolling_restarts [--restarts 10] [--requests 30000] [--rps 100] [--streams 200] [--tokens 24]

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
_MESSAGES = [{"role": "user", "content": "How late does the subway run in Seoul on Sundays?"}]


@dataclass
class RestartResults:
    """What became of everything that was sent."""

    completed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def add_failure(self, what: str, why: object) -> None:
        self.failures.append(f"{what}: {why!r}")


async def call_once(
    http: aiohttp.ClientSession, url: str, tally: RestartResults, due: float
) -> None:
    """A whole answer, timed from when it was to be sent."""
    body = {"model": "quick", "messages": _MESSAGES, "max_tokens": 8}
    try:
        async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
            if answer.status != 200 or '"finish_reason"' not in text:
                return tally.add_failure("call", (answer.status, text[:200]))
    except Exception as error:
        return tally.add_failure("call", error)
    tally.completed["calls"] += 1
    tally.latencies.append(time.perf_counter() - due)


async def run_streams(
    http: aiohttp.ClientSession, url: str, tokens: int, tally: RestartResults, stop: asyncio.Event
) -> None:
    """One stream after the other, each to its end."""
    body = {"model": "slow", "stream": True, "messages": _MESSAGES, "max_tokens": tokens}
    while not stop.is_set():
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
                text = await answer.text()
                if answer.status == 200 and text.endswith("data: [DONE]\n\n"):
                    tally.completed["streams"] += 1
                else:
                    tally.add_failure("stream", (answer.status, text[-200:]))
        except Exception as error:
            tally.add_failure("stream", error)


async def run_load(
    url: str, options: argparse.Namespace, pid: int, count_restarts: Callable[[], int]
) -> RestartResults:
    """The schedule, the streams beside it, and the signals."""
    tally, stop = RestartResults(), asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        stream_tasks = [
            asyncio.create_task(run_streams(http, url, options.tokens, tally, stop))
            for _ in range(options.streams)
        ]
        await asyncio.sleep(0.5)
        calls: set[asyncio.Task[None]] = set()
        requests_per_restart = options.requests // (options.restarts + 1)
        begin = time.perf_counter()
        for i in range(options.requests):
            due = begin + i / options.rps
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.add(asyncio.create_task(call_once(http, url, tally, due)))
            if (
                i
                and i % requests_per_restart == 0
                and i // requests_per_restart <= options.restarts
            ):
                os.kill(pid, signal.SIGUSR2)
        await asyncio.gather(*calls)
        for _ in range(600):
            if count_restarts() >= options.restarts:
                break
            await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*stream_tasks)
    return tally


async def run(
    options: argparse.Namespace, file: Path, sink: IO[bytes], count_restarts: Callable[[], int]
) -> tuple[RestartResults, int]:
    """Start hamlet, load it, stop it; what became of the load, and hamlet's exit status."""
    words = ("-m", "hamlet", "serve", "--port", "0", "--workers", "2", "--config", str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, stderr=sink
    )
    try:
        assert process.stdout
        address = re.search(rb"http://\S+", await process.stdout.readline())
        assert address
        tally = await run_load(address[0].decode(), options, process.pid, count_restarts)
    finally:
        process.terminate()
        status = await process.wait()
    return tally, status


def main(options: argparse.Namespace) -> int:
    """Run, and tell."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "hamlet.yaml"), Path(folder, "log")
        file.write_text(CONFIG)

        def count_restarts() -> int:
            return log.read_text().count('"restart.done"')

        with log.open("wb") as sink:
            tally, status = asyncio.run(run(options, file, sink, count_restarts))
        restarts = count_restarts()
    tally.latencies.sort()
    p50, p99 = (tally.latencies[int(len(tally.latencies) * q)] * 1000 for q in (0.5, 0.99))
    print(
        f"{restarts} rolling restarts, {options.rps:g} requests/s, {options.streams} streams open: "
        f"{tally.completed['calls']} calls and {tally.completed['streams']} streams done, "
        f"{len(tally.failures)} failed; p50 {p50:.1f} ms, p99 {p99:.0f} ms; status {status}"
    )
    for failure, count in Counter(tally.failures).most_common(10):
        print(f"  {count} x {failure}")
    return int(bool(tally.failures) or restarts != options.restarts or status != 0)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name, default in (
        ("restarts", 10),
        ("requests", 30_000),
        ("streams", 200),
        ("tokens", 24),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rps", type=float, default=100.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_parse_options()))
