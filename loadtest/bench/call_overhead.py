"""Latency that hamlet adds to a call: the same calls to a loopback vendor, directly and through hamlet.

    python -m loadtest.bench.call_overhead [ROUNDS] [CALLS]

Serial calls over one keep-alive connection, direct and through hamlet interleaved round by round. The
vendor, hamlet and the client are three processes. Prints medians in milliseconds and the ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

import aiohttp

from hamlet.testing import Canned, Received, json_reply, sse_reply
from loadtest.engine.server_process import config_file, run_server_process
from loadtest.engine.vendor import CHUNK, LAST_CHUNK, run_vendor_process
from loadtest.engine.waiting import wait_until_ok

CHUNKS = 50
CONFIG = """
providers: {{vendor: {{kind: openai, base_url: "{url}/v1"}}}}
routes: {{model: {{deployments: [{{provider: vendor, model: gpt-4o}}]}}}}
telemetry: {{log_level: error}}
"""
_COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def respond(request: Received) -> Canned:
    """A whole response, or a stream of CHUNKS chunks."""
    if request.json.get("stream"):
        return sse_reply([CHUNK] * CHUNKS + [LAST_CHUNK])
    return json_reply(_COMPLETION)


async def measure(url: str, config: Path, rounds: int, calls: int) -> None:
    """Run hamlet in front of the vendor at `url`, and print the table."""
    start = time.perf_counter()
    async with run_server_process(config) as server, aiohttp.ClientSession() as http:
        await wait_until_ok(f"{server.url}/readyz")
        print(f"start-up, from exec to /readyz: {time.perf_counter() - start:.2f} s")
        for name, stream in (("plain call", False), (f"stream of {CHUNKS} chunks", True)):
            times: dict[str, list[float]] = {url: [], server.url: []}
            for _ in range(rounds):
                for target in times:
                    times[target] += await _time_calls_s(http, target, stream, calls)
            direct, through = (statistics.median(taken) * 1000 for taken in times.values())
            print(
                f"{name}: direct {direct:.2f} ms, through hamlet {through:.2f} ms, "
                f"added {through - direct:.2f} ms, ratio {through / direct:.2f}"
            )


def main(rounds: int = 10, calls: int = 200) -> None:
    with run_vendor_process(respond) as url, config_file(CONFIG.format(url=url)) as config:
        asyncio.run(measure(url, config, rounds, calls))


async def _time_calls_s(
    http: aiohttp.ClientSession, target: str, stream: bool, calls: int
) -> list[float]:
    body = {
        "model": "model",
        "stream": stream,
        "messages": [{"role": "user", "content": "What is the weather in Seoul today?"}],
    }
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        async with http.post(f"{target}/v1/chat/completions", json=body) as response:
            await response.read()
            assert response.status == 200
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
