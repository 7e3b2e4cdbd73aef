"""The cost of thousands of stalled streams: memory during and after them, and the latency of other calls.

    python -m loadtest.scenarios.stalled_streams [STALLED] [SLOW]

STALLED streams whose upstream sends nothing more, and SLOW clients that read nothing of an endless
stream, are open at once (2,000 of each by default) while one client makes short streamed calls. The
vendors, hamlet and the clients are processes of their own. Prints hamlet's resident memory in MiB and
the latency in milliseconds; exits with 1 above +250 MiB during, +20 MiB after, or 1.3 times the latency.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from hamlet.testing import Canned, Received, sse_reply
from loadtest.engine.processes import rss_mib
from loadtest.engine.quantiles import p50_p99
from loadtest.engine.server_process import config_file, run_server_process
from loadtest.engine.vendor import CHUNK, LAST_CHUNK, raise_file_limit, run_vendor_process
from loadtest.engine.waiting import wait_until_ok

CALLS, ROUNDS = 200, 3
MAX_ADDED_MIB, MAX_RETAINED_MIB, MAX_LATENCY_RATIO = 250, 20, 1.3
CONFIG = """
server: {{max_in_flight: 10000, reader_stall_s: 3600}}
providers:
  short: {{kind: openai, base_url: "{short}/v1"}}
  stalling: {{kind: openai, base_url: "{stalling}/v1", max_connections: 10000, connect_timeout_s: 60, idle_timeout_s: 3600}}
routes:
  short: {{deployments: [{{provider: short, model: short}}]}}
  stalled: {{deployments: [{{provider: stalling, model: stalled}}], policy: &long {{first_token_s: 60, idle_s: 3600, byte_idle_s: 3600, total_s: 3600}}}}
  slow: {{deployments: [{{provider: stalling, model: slow}}], policy: *long}}
telemetry: {{log_level: error}}
"""


def respond(request: Received) -> Canned:
    """A short stream, one that stalls, or an endless one."""
    match request.json["model"]:
        case "stalled":
            return sse_reply([CHUNK] * 3, end="hang")
        case "slow":
            return Canned(200, {"content-type": "text/event-stream"}, itertools.repeat(CHUNK * 50))
    return sse_reply([CHUNK] * 20 + [LAST_CHUNK])


def request_body(model: str) -> bytes:
    """The body of a streamed call."""
    turns = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": model, "stream": True, "messages": turns}).encode()


async def open_stream(url: str, model: str) -> socket.socket:
    """Open a stream and read nothing but the beginning of its status line."""
    loop, where, sent = asyncio.get_running_loop(), urlsplit(url), request_body(model)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, (where.hostname, where.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(sent)}\r\n\r\n"
    await loop.sock_sendall(sock, head.encode() + sent)
    begun = await loop.sock_recv(sock, 12)
    if not begun.endswith(b"200"):
        sys.exit(f"hamlet refused: {await loop.sock_recv(sock, 2000)!r}")
    return sock


async def open_streams(url: str, models: list[str]) -> list[socket.socket]:
    """Open a stream of each model, fifty at a time."""
    limiter = asyncio.Semaphore(50)

    async def one(model: str) -> socket.socket:
        async with limiter:
            return await open_stream(url, model)

    return await asyncio.gather(*(one(model) for model in models))


async def measure_latencies_ms(url: str) -> list[float]:
    """Milliseconds of short streamed calls, one after the other, on one connection."""
    taken = []
    async with aiohttp.ClientSession() as session:
        for _ in range(CALLS + 20):
            begin = time.perf_counter()
            async with session.post(
                f"{url}/v1/chat/completions", data=request_body("short")
            ) as response:
                assert b"[DONE]" in await response.read()
            taken.append((time.perf_counter() - begin) * 1000)
    return taken[20:]


async def measure(url: str, pid: int, stalled: int, slow_readers: int) -> bool:
    """Print the figures; whether they are within the limits."""
    await wait_until_ok(f"{url}/livez")
    # Allocations that happen only once happen here.
    for sock in await open_streams(url, ["stalled", "slow"] * 100):
        sock.close()
    await measure_latencies_ms(url)
    await asyncio.sleep(2)
    before_mib, before = rss_mib(pid), await measure_latencies_ms(url)
    socks = await open_streams(url, ["stalled"] * stalled + ["slow"] * slow_readers)
    await asyncio.sleep(5)
    peak_mib = rss_mib(pid)
    during = [taken for _ in range(ROUNDS) for taken in await measure_latencies_ms(url)]
    for sock in socks:
        sock.close()
    await asyncio.sleep(15)
    after_mib = rss_mib(pid)
    before += [taken for _ in range(ROUNDS - 1) for taken in await measure_latencies_ms(url)]
    (before_p50, before_p99), (during_p50, during_p99) = p50_p99(before), p50_p99(during)
    each = (peak_mib - before_mib) * 1024 / max(1, stalled + slow_readers)
    print(f"resident   before {before_mib:.0f} MiB, during {peak_mib:.0f} MiB", end="")
    print(
        f" (+{peak_mib - before_mib:.0f}, {each:.1f} KiB a stream), after +{after_mib - before_mib:.0f}"
    )
    print(
        f"others     p50 {before_p50:.2f} -> {during_p50:.2f} ms,",
        end="",
    )
    print(f" p99 {before_p99:.2f} -> {during_p99:.2f} ms ({during_p99 / before_p99:.2f} times)")
    within_limits = (
        peak_mib - before_mib <= MAX_ADDED_MIB and after_mib - before_mib <= MAX_RETAINED_MIB
    )
    return within_limits and during_p99 / before_p99 <= MAX_LATENCY_RATIO


async def run(config: Path, stalled: int, slow_readers: int) -> bool:
    """Start hamlet and measure; whether the limits are kept."""
    async with run_server_process(config) as server:
        return await measure(server.url, server.process.pid, stalled, slow_readers)


def main() -> int:
    """Print the figures; 1 if a limit is exceeded."""
    stalled, slow_readers = (int(word) for word in (*sys.argv[1:], "2000", "2000")[:2])
    raise_file_limit()
    with run_vendor_process(respond) as short, run_vendor_process(respond) as stalling:
        with config_file(CONFIG.format(short=short, stalling=stalling)) as config:
            return int(not asyncio.run(run(config, stalled, slow_readers)))


if __name__ == "__main__":
    sys.exit(main())
