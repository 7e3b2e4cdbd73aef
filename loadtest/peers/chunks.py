"""Five hundred streams at once: CPU a chunk, and memory a stream.

As a program it is the upstream: `python -m loadtest.peers.chunks PORT TLS_PORT CERTIFICATE KEY`
answers a streamed call with ten chunks a second without an end, and any other with the canned
answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import uvloop

from loadtest.peers.gateways import ANSWER, KEY, MESSAGES
from loadtest.peers.rounds import Ear, Noise, kept
from loadtest.peers.stand import CHAT, Bench, Contender, Entry
from loadtest.proc import Process, cpu_s, free_port, pss_mib, wait_for

STREAMS, GROUPS, EVERY_S = 500, 10, 0.1
_SETTLE_S, _OPENING_S = 2.0, 20.0
_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1764000000,
    "model": "gpt-4o-mini",
    "system_fingerprint": "fp_1",
    "choices": [
        {
            "index": 0,
            "delta": {"content": "word after word after word "},
            "logprobs": None,
            "finish_reason": None,
        }
    ],
}
_EVENT = b"data: " + json.dumps(_CHUNK).encode() + b"\n\n"
_FRAMED = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE = json.dumps(ANSWER).encode()
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_WHOLE),
    _WHOLE,
)


class Upstream(asyncio.Protocol):
    """One connection of the upstream."""

    def __init__(self, groups: list[set[asyncio.Transport]]) -> None:
        self._groups, self._buffer = groups, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < _length(head):
            return
        self._buffer = b""
        if b'"stream": true' in rest or b'"stream":true' in rest:
            self._transport.write(_HEAD)
            min(self._groups, key=len).add(self._transport)
        else:
            self._transport.write(_PLAIN)

    def connection_lost(self, exc: Exception | None) -> None:
        for group in self._groups:
            group.discard(self._transport)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, tls_port: int, cert: str, key: str) -> None:
    """The upstream, until interrupted. Each group of streams gets its chunk at its own time."""
    groups: list[set[asyncio.Transport]] = [set() for _ in range(GROUPS)]
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    for where, context in ((port, None), (tls_port, tls)):
        await loop.create_server(
            lambda: Upstream(groups), "127.0.0.1", where, backlog=2048, ssl=context
        )
    due = loop.time()
    while True:
        for group in groups:
            due += EVERY_S / GROUPS
            await asyncio.sleep(max(0.0, due - loop.time()))
            for transport in list(group):
                transport.write(_FRAMED)


class Listener(asyncio.Protocol):
    """A client that counts chunks."""

    def __init__(self, request: bytes) -> None:
        self._request, self.chunks = request, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 503"):
            # Who is busy is asked again, as its retry-after says; bursts are not what is measured.
            asyncio.get_running_loop().call_later(1.0, self._ask)
            return
        self.chunks += data.count(b'"content"')


@dataclass(frozen=True, slots=True)
class Lap:
    """One gateway with its streams. `open` are those that had a chunk; a chunk's CPU in us."""

    open: int
    chunks_per_s: float
    us: float
    kib: float
    noise: Noise


@dataclass(frozen=True, slots=True)
class Streamed:
    """What is said of one gateway: medians of its kept laps."""

    name: str
    open: int
    chunks_per_s: float
    us: float
    kib: float
    kept: int
    rounds: int


def streamed(
    bench: Bench, entries: dict[str, Entry], rounds: int, seconds: float, streams: int = STREAMS
) -> list[Streamed]:
    """Every contender for plain calls in turns, each over the upstream that streams."""
    port, tls_port = free_port(), free_port()
    command = [sys.executable, "-m", "loadtest.peers.chunks", str(port), str(tls_port)]
    command += [str(bench.cert), str(bench.key)]
    upstream = Process(command, log=bench.folder / "chunks.log", cpu=1)
    bench.processes.append(upstream)
    plain, secure = f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}"
    wait_for(f"{plain}/", upstream, 30)
    laps: dict[str, list[Lap]] = {}
    for number in range(rounds):
        for name, entry in entries.items():
            # A process of its own each time: what memory a stream takes shows only the first time.
            url = secure if entry.secure else plain
            one = bench.start(name, entry, url) if entry.asks_the_same else None
            if one is None:
                continue
            lap = uvloop.run(_lap(bench, one, seconds, streams))
            bench.stop(one)
            laps.setdefault(name, []).append(lap)
            print(f"streams {number + 1} {name:16} {lap.us:7.1f} us a chunk", flush=True)
    return [_streamed(name, each) for name, each in laps.items()]


async def _lap(bench: Bench, one: Contender, seconds: float, streams: int) -> Lap:
    before = pss_mib(one.process.pid)
    listeners = await _open(one, streams)
    try:
        await asyncio.sleep(_SETTLE_S)
        ear, cpu, chunks = Ear(bench.processes), cpu_s(one.process.pid), _heard(listeners)
        await asyncio.sleep(seconds)
        noise, used = ear.heard(), cpu_s(one.process.pid) - cpu
        chunks = _heard(listeners) - chunks
        memory = pss_mib(one.process.pid) - before
        opened = sum(listener.chunks > 0 for listener in listeners)
    finally:
        for listener in listeners:
            listener.transport.abort()
    return Lap(
        opened,
        chunks / noise.seconds,
        used / chunks * 1e6 if chunks else float("nan"),
        memory * 1024 / max(opened, 1),
        noise,
    )


async def _open(one: Contender, count: int) -> Sequence[Listener]:
    """Open streams, a few at a time, and wait until all flow, or as long as is fair."""
    loop, where = asyncio.get_running_loop(), urlsplit(one.url)
    assert where.hostname
    assert where.port
    listeners = []
    for _ in range(count):
        _, listener = await loop.create_connection(
            lambda: Listener(_request(one)), where.hostname, where.port
        )
        listeners.append(listener)
        await asyncio.sleep(0.004)
    for _ in range(int(_OPENING_S / 0.05)):
        if all(listener.chunks for listener in listeners):
            break
        await asyncio.sleep(0.05)
    return listeners


def _request(one: Contender) -> bytes:
    body = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}).encode()
    headers = {
        "host": "bench",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
        "content-length": str(len(body)),
        **one.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {CHAT} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _heard(listeners: Sequence[Listener]) -> int:
    return sum(listener.chunks for listener in listeners)


def _streamed(name: str, laps: Sequence[Lap]) -> Streamed:
    used = kept(laps)
    return Streamed(
        name=name,
        open=min(lap.open for lap in laps),
        chunks_per_s=statistics.median(lap.chunks_per_s for lap in used),
        us=statistics.median(lap.us for lap in used),
        kib=statistics.median(lap.kib for lap in used),
        kept=sum(lap.noise.is_quiet for lap in laps),
        rounds=len(laps),
    )


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
