"""Rolling restarts under load: no request may fail.

    python -m loadtest.scenarios.rolling_restarts [--restarts 10] [--requests 30000] [--rps 100] [--streams 200] [--tokens 24]

`hamlet serve --workers 2` with the embedded provider. Requests are sent on a fixed schedule (open loop)
over keep-alive connections, while --streams streams of --tokens tokens (4 per second) are always open.
SIGUSR2 is sent at even intervals. Clients do not retry. Exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from loadtest.engine.quantiles import p50_p99
from loadtest.engine.server_process import ServerProcess, config_file, run_server_process
from loadtest.engine.waiting import wait_until

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
    """Outcomes of all calls and streams; latencies in seconds."""

    completed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def add_failure(self, what: str, why: object) -> None:
        self.failures.append(f"{what}: {why!r}")


async def call_once(
    http: aiohttp.ClientSession, url: str, results: RestartResults, due: float
) -> None:
    """A call without streaming, timed from when it was due."""
    body = {"model": "quick", "messages": _MESSAGES, "max_tokens": 8}
    try:
        async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
            if answer.status != 200 or '"finish_reason"' not in text:
                return results.add_failure("call", (answer.status, text[:200]))
    except Exception as error:
        return results.add_failure("call", error)
    results.completed["calls"] += 1
    results.latencies.append(time.perf_counter() - due)


async def run_streams(
    http: aiohttp.ClientSession, url: str, tokens: int, results: RestartResults, stop: asyncio.Event
) -> None:
    """One stream after another, each read to its end."""
    body = {"model": "slow", "stream": True, "messages": _MESSAGES, "max_tokens": tokens}
    while not stop.is_set():
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
                text = await answer.text()
                if answer.status == 200 and text.endswith("data: [DONE]\n\n"):
                    results.completed["streams"] += 1
                else:
                    results.add_failure("stream", (answer.status, text[-200:]))
        except Exception as error:
            results.add_failure("stream", error)


async def run_load(
    options: argparse.Namespace, server: ServerProcess, count_restarts: Callable[[], int]
) -> RestartResults:
    """Send the scheduled calls while streams are open, and a signal at even intervals."""
    results, stop, url = RestartResults(), asyncio.Event(), server.url
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        stream_tasks = [
            asyncio.create_task(run_streams(http, url, options.tokens, results, stop))
            for _ in range(options.streams)
        ]
        await asyncio.sleep(0.5)
        calls: set[asyncio.Task[None]] = set()
        requests_per_restart = options.requests // (options.restarts + 1)
        begin = time.perf_counter()
        for i in range(options.requests):
            due = begin + i / options.rps
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.add(asyncio.create_task(call_once(http, url, results, due)))
            if (
                i
                and i % requests_per_restart == 0
                and i // requests_per_restart <= options.restarts
            ):
                server.send_signal(signal.SIGUSR2)
        await asyncio.gather(*calls)
        with suppress(TimeoutError):  # main reports how many there were
            await wait_until(lambda: count_restarts() >= options.restarts, interval_s=0.1)
        stop.set()
        await asyncio.gather(*stream_tasks)
    return results


async def run(
    options: argparse.Namespace, config: Path, count_restarts: Callable[[Path], int]
) -> tuple[RestartResults, int, int]:
    """Start hamlet, load it, stop it: the results, the restarts and hamlet's exit status."""
    async with run_server_process(config, "--workers", "2") as server:
        results = await run_load(options, server, lambda: count_restarts(server.log))
        status = await server.terminate()
    return results, count_restarts(server.log), status


def main(options: argparse.Namespace) -> int:
    """Print the results; 1 if anything failed or hamlet restarted another number of times."""
    with config_file(CONFIG) as config:
        results, restarts, status = asyncio.run(
            run(options, config, lambda log: log.read_text().count('"restart.done"'))
        )
    p50, p99 = (seconds * 1000 for seconds in p50_p99(results.latencies))
    print(
        f"{restarts} rolling restarts, {options.rps:g} requests/s, {options.streams} streams open: "
        f"{results.completed['calls']} calls and {results.completed['streams']} streams done, "
        f"{len(results.failures)} failed; p50 {p50:.1f} ms, p99 {p99:.0f} ms; status {status}"
    )
    for failure, count in Counter(results.failures).most_common(10):
        print(f"  {count} x {failure}")
    return int(bool(results.failures) or restarts != options.restarts or status != 0)


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
