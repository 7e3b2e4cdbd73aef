"""A real redis-server on a Unix socket, and a proxy that delays and truncates its replies."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from loadtest.engine.redis_server import RedisServer


@asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    server = RedisServer(folder)
    await server.start(*options)
    try:
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def slow_proxy(
    socket_path: Path, delay_s: Callable[[], float], max_bytes: Callable[[], int] = lambda: 1 << 16
) -> AsyncIterator[str]:
    """A Redis URL whose replies are late, and cut to `max_bytes()` a read."""
    open_ones: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_ones[writer] = task
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(str(socket_path))
        pipes = [
            pump(reader, upstream_writer, lambda: 0.0, lambda: 1 << 16),
            pump(upstream_reader, writer, delay_s, max_bytes),
        ]
        tasks = [asyncio.create_task(pipe) for pipe in pipes]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (upstream_writer, writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
            del open_ones[writer]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.close()
        ends = list(open_ones.items())
        for writer, _ in ends:
            # Cancelling the task would make asyncio report an error of the server.
            writer.transport.abort()
        await asyncio.gather(*(task for _, task in ends))


async def pump(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay_s: Callable[[], float],
    max_bytes: Callable[[], int],
) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            if wait := delay_s():
                await asyncio.sleep(wait)
            writer.write(data[: max_bytes()])
            await writer.drain()


def random_delays(seconds: float, seed: int = 1) -> Callable[[], float]:
    """Uniform delays from 0 to `seconds`."""
    rng = random.Random(seed)
    return lambda: rng.uniform(0, seconds)
