"""The cost of the simulator: CPU per request over HTTP, and simulated requests per second in memory.

    python -m loadtest.bench.simulator_cost [SECONDS]

The served simulator is a process of its own. Its CPU time is read before and after requests at 125 per
second with 150 tokens each, and after a closed loop over 32 connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import sys
import time
from dataclasses import replace

from hamlet.config import loads
from hamlet.simulator import Latency, SimulatorServer, World, marker
from hamlet.simulator.arrival_traces import generate_trace
from hamlet.simulator.configuration import example_fleet, simulated_deployments
from hamlet.simulator.harness import simulate

RATE, TOKENS, CONNECTIONS = 125, 150, 32
_BODY = (
    f'{{"model":"gpt-4o","stream":true,"max_tokens":{TOKENS},'
    f'"messages":[{{"role":"user","content":"{marker(1000, TOKENS)}"}}]}}'
).encode()
Pipe = multiprocessing.connection.Connection


def run_vendors(pipe: Pipe, tokens_per_frame: int, latency: Latency | None) -> None:
    """The simulator's process: sends its URL, then its CPU time whenever it receives something."""
    import uvloop

    async def serve() -> None:
        specs = [
            replace(
                s, tokens_per_frame=tokens_per_frame, latency=latency or s.latency, capacity=None
            )
            for s in simulated_deployments(loads(example_fleet()).config)
            if s.kind == "ptu"
        ]
        world = World(specs, seed=1, clock=time.monotonic)
        async with SimulatorServer(world) as server:
            pipe.send((server.url, world.names))

            def send_cpu_time() -> None:
                pipe.recv()
                pipe.send(time.process_time())

            asyncio.get_running_loop().add_reader(pipe.fileno(), send_cpu_time)
            await asyncio.Event().wait()

    uvloop.run(serve())


class Client:
    """One keep-alive connection that reads responses without parsing their events."""

    def __init__(self, host: str, port: str) -> None:
        self._address = host, int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, name: str) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = f"POST /{name}/v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: "
        writer.write(head.encode() + b"%d\r\n\r\n" % len(_BODY) + _BODY)
        await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")


async def send_at_rate(url: str, names: list[str], seconds: float) -> int:
    """Send at RATE, whether or not earlier requests have ended (open loop)."""
    host, port = url.removeprefix("http://").split(":")
    idle: list[Client] = []

    async def send_one(i: int) -> None:
        client = idle.pop() if idle else Client(host, port)
        await client.request(names[i % len(names)])
        idle.append(client)

    begin, count = time.monotonic(), int(RATE * seconds)
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            await asyncio.sleep(max(0.0, begin + i / RATE - time.monotonic()))
            group.create_task(send_one(i))
    return count


async def send_closed_loop(url: str, names: list[str], seconds: float) -> int:
    """Send as fast as CONNECTIONS get responses (closed loop)."""
    host, port = url.removeprefix("http://").split(":")
    end, counts = time.monotonic() + seconds, [0] * CONNECTIONS

    async def run_connection(i: int) -> None:
        client = Client(host, port)
        while time.monotonic() < end:
            await client.request(names[i % len(names)])
            counts[i] += 1

    await asyncio.gather(*map(run_connection, range(CONNECTIONS)))
    return sum(counts)


def measure_served(seconds: float) -> None:
    """CPU per request, by tokens per frame."""
    for tokens_per_frame, latency in ((1, None), (4, None), (16, None), (4, Latency(0, 0, 1e-9))):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=run_vendors, args=(theirs, tokens_per_frame, latency), daemon=True
        )
        process.start()
        url, names = ours.recv()
        send_load = send_closed_loop if latency else send_at_rate
        asyncio.run(send_load(url, names, 1.0))
        ours.send(None)
        cpu, begin = ours.recv(), time.monotonic()
        count = asyncio.run(send_load(url, names, seconds))
        took = time.monotonic() - begin
        ours.send(None)
        cpu = ours.recv() - cpu
        process.terminate()
        process.join()
        cpu_per_request_s = cpu / count
        rate_text = f"flat out {count / took:.0f}/s" if latency else f"at {RATE}/s"
        print(
            f"served {rate_text}, {tokens_per_frame} tokens a frame: {cpu_per_request_s * 1e6:.0f} us CPU a "
            f"request, {cpu_per_request_s * RATE:.0%} of a core at {RATE}/s"
        )


def measure_virtual() -> None:
    """Simulated requests a second through the real gateway and adapters, and set-up per seed."""
    loaded = loads(example_fleet())
    trace = generate_trace(1, 240)
    simulate(loaded, trace[:10], seed=1)
    begin = time.process_time()
    for seed in range(20):
        simulate(loaded, (), seed=seed)
    print(f"virtual: {(time.process_time() - begin) / 20 * 1000:.1f} ms CPU per seed to set up 31")
    begin = time.process_time()
    report = simulate(loaded, trace, seed=1)
    took = time.process_time() - begin
    print(f"virtual: {len(trace) / took:.0f} requests per CPU second; {report.summary()}")


if __name__ == "__main__":
    measure_served(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
    measure_virtual()
