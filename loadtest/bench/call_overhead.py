"""What hamlet adds to a call: the same calls to a loopback vendor, directly and through hamlet.

    python -m loadtest.bench.call_overhead [ROUNDS] [CALLS]

Serial calls over one kept connection, direct and through hamlet interleaved round by round. The
vendor, hamlet and the client are three processes. Prints medians in milliseconds and the ratio.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply

CHUNKS = 50
CONFIG = """
providers: {{vendor: {{kind: openai, base_url: "{url}/v1"}}}}
routes: {{model: {{deployments: [{{provider: vendor, model: gpt-4o}}]}}}}
telemetry: {{log_level: error}}
"""
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}]}\n\n'
_LAST = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
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
    """A plain answer, or a stream of PIECES chunks."""
    if request.json.get("stream"):
        return sse_reply([_CHUNK] * CHUNKS + [_LAST])
    return json_reply(_COMPLETION)


def run_vendor(pipe: multiprocessing.connection.Connection) -> None:
    """The vendor's process."""

    async def serve() -> None:
        async with LoopbackUpstream() as upstream:
            upstream.respond(respond)
            pipe.send(upstream.url)
            await asyncio.Event().wait()

    asyncio.run(serve())


def start_hamlet(url: str) -> tuple[subprocess.Popen[str], str, float]:
    """hamlet's process, its address, and the seconds until it served."""
    file = Path(tempfile.mkdtemp()) / "overhead.yaml"
    file.write_text(CONFIG.format(url=url))
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hamlet", "serve", "--port", "0", "--config", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    return process, address[0], start


async def measure(rounds: int, calls: int) -> None:
    """Run everything and print the table."""
    ours, theirs = multiprocessing.Pipe()
    upstream = multiprocessing.Process(target=run_vendor, args=(theirs,), daemon=True)
    upstream.start()
    url = ours.recv()
    process, gateway, start = start_hamlet(url)
    try:
        async with aiohttp.ClientSession() as http:
            await _wait_until_ready(http, gateway)
            print(f"start-up, from exec to /readyz: {time.perf_counter() - start:.2f} s")
            for name, stream in (("plain call", False), (f"stream of {CHUNKS} chunks", True)):
                times: dict[str, list[float]] = {url: [], gateway: []}
                for _ in range(rounds):
                    for target in (url, gateway):
                        times[target] += await _time_calls_s(http, target, stream, calls)
                direct, through = (statistics.median(times[t]) * 1000 for t in (url, gateway))
                print(
                    f"{name}: direct {direct:.2f} ms, through hamlet {through:.2f} ms, "
                    f"added {through - direct:.2f} ms, ratio {through / direct:.2f}"
                )
    finally:
        process.terminate()
        process.wait()
        upstream.terminate()


async def _wait_until_ready(http: aiohttp.ClientSession, gateway: str) -> None:
    for _ in range(500):
        try:
            async with http.get(f"{gateway}/readyz") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.01)
    raise TimeoutError("hamlet did not start")


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
    given = [int(word) for word in sys.argv[1:]]
    asyncio.run(measure(*(given + [10, 200][len(given) :])))
