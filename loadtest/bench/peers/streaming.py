"""Five hundred concurrent streams: CPU per chunk, and memory per stream.

As a program it is the upstream: `python -m loadtest.bench.peers.streaming PORT TLS_PORT CERTIFICATE KEY`
answers a streamed call with ten chunks per second without an end, and any other call with a fixed
response.
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

from loadtest.bench.gateways import ANSWER, KEY, MESSAGES
from loadtest.bench.rounds import Noise, NoiseMeter, select_quiet
from loadtest.bench.stand import CHAT, Bench, Contender, ContenderSpec
from loadtest.engine.processes import Process, cpu_s, free_port, pss_mib, wait_until_ready

STREAMS, GROUPS, CHUNK_INTERVAL_S = 500, 10, 0.1
_SETTLE_S, _OPEN_TIMEOUT_S = 2.0, 20.0
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
_CHUNKED_EVENT = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_COMPLETION = json.dumps(ANSWER).encode()
_COMPLETION_RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(_COMPLETION),
        _COMPLETION,
    )
)


class StreamingUpstream(asyncio.Protocol):
    """One connection of the upstream."""

    def __init__(self, groups: list[set[asyncio.Transport]]) -> None:
        self._groups, self._buffer = groups, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < _content_length(head):
            return
        self._buffer = b""
        if b'"stream": true' in rest or b'"stream":true' in rest:
            self._transport.write(_HEAD)
            min(self._groups, key=len).add(self._transport)
        else:
            self._transport.write(_COMPLETION_RESPONSE)

    def connection_lost(self, exc: Exception | None) -> None:
        for group in self._groups:
            group.discard(self._transport)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(port: int, tls_port: int, cert: str, key: str) -> None:
    """Serve the upstream until interrupted. Each group of streams gets its chunks at another time."""
    groups: list[set[asyncio.Transport]] = [set() for _ in range(GROUPS)]
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    for where, context in ((port, None), (tls_port, tls)):
        await loop.create_server(
            lambda: StreamingUpstream(groups), "127.0.0.1", where, backlog=2048, ssl=context
        )
    due = loop.time()
    while True:
        for group in groups:
            due += CHUNK_INTERVAL_S / GROUPS
            await asyncio.sleep(max(0.0, due - loop.time()))
            for transport in list(group):
                transport.write(_CHUNKED_EVENT)


class StreamClient(asyncio.Protocol):
    """A client that counts chunks."""

    def __init__(self, request: bytes) -> None:
        self._request, self.chunks = request, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send_request()

    def _send_request(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 503"):
            # Retried after a second, as retry-after says: bursts are not what is measured.
            asyncio.get_running_loop().call_later(1.0, self._send_request)
            return
        self.chunks += data.count(b'"content"')


@dataclass(frozen=True, slots=True)
class StreamRound:
    """One gateway with its streams; `open_streams` counts those that received a chunk."""

    open_streams: int
    chunks_per_s: float
    cpu_us_per_chunk: float
    kib_per_stream: float
    noise: Noise


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """The result of one gateway: medians of its quiet rounds, CPU in microseconds, memory in KiB."""

    name: str
    open: int
    chunks_per_s: float
    us: float
    kib: float
    kept: int
    rounds: int


def measure_streaming(
    bench: Bench,
    entries: dict[str, ContenderSpec],
    rounds: int,
    seconds: float,
    streams: int = STREAMS,
) -> list[StreamingResult]:
    """Measure every comparable contender in turn, each in front of the streaming upstream."""
    port, tls_port = free_port(), free_port()
    command = [sys.executable, "-m", "loadtest.bench.peers.streaming", str(port), str(tls_port)]
    command += [str(bench.cert), str(bench.key)]
    upstream = Process(command, log=bench.folder / "chunks.log", cpu=1)
    bench.processes.append(upstream)
    plain, secure = f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}"
    wait_until_ready(f"{plain}/", upstream, 30)
    measured: dict[str, list[StreamRound]] = {}
    for number in range(rounds):
        for name, entry in entries.items():
            # A new process each time: memory per stream shows only the first time.
            url = secure if entry.uses_tls else plain
            contender = bench.start(name, entry, url) if entry.is_comparable else None
            if contender is None:
                continue
            stream_round = uvloop.run(_measure_round(bench, contender, seconds, streams))
            bench.stop(contender)
            measured.setdefault(name, []).append(stream_round)
            print(
                f"streams {number + 1} {name:16} {stream_round.cpu_us_per_chunk:7.1f} us a chunk",
                flush=True,
            )
    return [_summarize(name, each) for name, each in measured.items()]


async def _measure_round(
    bench: Bench, contender: Contender, seconds: float, streams: int
) -> StreamRound:
    before = pss_mib(contender.process.pid)
    clients = await _open_streams(contender, streams)
    try:
        await asyncio.sleep(_SETTLE_S)
        noise_meter, cpu, chunks = (
            NoiseMeter(bench.processes),
            cpu_s(contender.process.pid),
            _count_chunks(clients),
        )
        await asyncio.sleep(seconds)
        noise, used = noise_meter.read_noise(), cpu_s(contender.process.pid) - cpu
        chunks = _count_chunks(clients) - chunks
        memory = pss_mib(contender.process.pid) - before
        opened = sum(client.chunks > 0 for client in clients)
    finally:
        for client in clients:
            client.transport.abort()
    return StreamRound(
        opened,
        chunks / noise.seconds,
        used / chunks * 1e6 if chunks else float("nan"),
        memory * 1024 / max(opened, 1),
        noise,
    )


async def _open_streams(contender: Contender, count: int) -> Sequence[StreamClient]:
    """Open the streams one after another, and wait up to 20 s until all have received a chunk."""
    loop, where = asyncio.get_running_loop(), urlsplit(contender.url)
    assert where.hostname
    assert where.port
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(
            lambda: StreamClient(_request(contender)), where.hostname, where.port
        )
        clients.append(client)
        await asyncio.sleep(0.004)
    for _ in range(int(_OPEN_TIMEOUT_S / 0.05)):
        if all(client.chunks for client in clients):
            break
        await asyncio.sleep(0.05)
    return clients


def _request(contender: Contender) -> bytes:
    body = json.dumps({"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}).encode()
    headers = {
        "host": "bench",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
        "content-length": str(len(body)),
        **contender.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {CHAT} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _count_chunks(clients: Sequence[StreamClient]) -> int:
    return sum(client.chunks for client in clients)


def _summarize(name: str, measured: Sequence[StreamRound]) -> StreamingResult:
    used = select_quiet(measured)
    return StreamingResult(
        name=name,
        open=min(each.open_streams for each in measured),
        chunks_per_s=statistics.median(each.chunks_per_s for each in used),
        us=statistics.median(each.cpu_us_per_chunk for each in used),
        kib=statistics.median(each.kib_per_stream for each in used),
        kept=sum(each.noise.is_quiet for each in measured),
        rounds=len(measured),
    )


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
