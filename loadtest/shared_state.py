"""G10: what calls notice when Redis is killed, hung and started again: `python -m loadtest.shared_state`.

Three processes' worth of gateway in one: two share what they know through a real redis-server, one
does not share, as a control beside them: what all three notice is the machine's doing. The calls
go to simulated answers of a fixed length, at a steady rate. Prints, for each stretch, the errors and the time a
call takes, less what its answer took.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from hamlet.config import Policy, loads
from hamlet.core import ModelCard
from hamlet.gateway import Admission, Call, Caller, Gateway, Observers
from hamlet.registry import Deployment, ProviderHandle, Registry, RegistryHolder, Reserved, Route
from hamlet.routing import Fleet, Sharing
from hamlet.spi import operations
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import ask
from hamlet.testing.support import SilentLog

RATE_S, ANSWER_S, STRETCH_S = 0.04, 0.02, 12.0
LIMIT_MS, DEPLOYMENTS, CONVERGED_S = 2.0, 27, 2.0
_WAIT_S = 60.0


_CONFIG = loads("providers: {p: {kind: k}}\nroutes: {r: {deployments: [{provider: p, model: m}]}}")


class Redis:
    """A redis-server on a unix socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"unix://{folder / 'redis.sock'}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = ("redis-server", "--port", "0", "--unixsocket", "redis.sock", "--save", "")
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout
        while b"ready to accept connections" not in await self._process.stdout.readline():
            assert self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.send(signal.SIGKILL)
            await self._process.communicate()


class Replica:
    """A gateway over 27 reserved deployments that answer after a fixed time."""

    def __init__(self, url: str | None) -> None:
        rows = tuple(_deployment(i) for i in range(DEPLOYMENTS))
        self.route = Route("r", "chat", (rows,), Policy())
        self.fleet = Fleet(rng=random.Random(1))
        holder = RegistryHolder(Registry(_CONFIG.config, {}, {"r": self.route}))
        self.gateway = Gateway(holder, Admission(1000), Observers([], SilentLog()), self.fleet)
        self.sharing = url and Sharing(
            self.fleet, url, "bench", lambda: rows, SilentLog(), lambda state: None
        )
        self.added_ms: list[float] = []
        self.errors = 0

    async def call(self, due: float) -> None:
        """One call; what it took beyond its answer counts from when it was due."""
        try:
            stream = await self.gateway.chat(Call.of(ask("hi", "r", stream=True), "b"), Caller())
            try:
                async for _ in stream:
                    pass
            finally:
                await stream.aclose()
        except Exception:
            self.errors += 1
        took = time.perf_counter() - due
        self.added_ms.append(1000 * (took - ANSWER_S))


def _deployment(i: int) -> Deployment:
    provider = ScriptedProvider([ANSWER_S, *says("hello")])
    handle = ProviderHandle(f"d{i}", "scripted", provider, operations(provider), None)
    return Deployment(
        f"d{i}/m", handle, "m", ModelCard(), region=f"r{i % 9}", capacity=Reserved(1000, 2500, 3.0)
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What a stretch showed: errors, and milliseconds beyond the answers', shared and control."""

    name: str
    errors: int
    shared: tuple[float, float]
    control: tuple[float, float]

    @property
    def added_ms(self) -> float:
        """What sharing adds to the 99th percentile."""
        return self.shared[1] - self.control[1]


async def stretch(name: str, replicas: list[Replica], trouble: Awaitable[object] | None) -> Row:
    """Steady load on all while the trouble comes, and everything answered."""
    for replica in replicas:
        replica.added_ms.clear()
        replica.errors = 0
    # uvloop's own clock has milliseconds.
    begun, tasks = time.perf_counter(), []
    coming = asyncio.ensure_future(trouble) if trouble is not None else None
    for i in range(int(STRETCH_S / RATE_S)):
        due = begun + i * RATE_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        # In another order each time, as the first of three waits the least.
        turn = replicas[i % 3 :] + replicas[: i % 3]
        tasks += [asyncio.create_task(replica.call(due)) for replica in turn]
    await asyncio.gather(*tasks)
    if coming is not None:
        await coming
    shared = replicas[0].added_ms + replicas[1].added_ms
    errors = sum(replica.errors for replica in replicas)
    return Row(name, errors, _quantiles(shared), _quantiles(replicas[2].added_ms))


def _quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.99 * len(ordered))]


async def converged(replicas: list[Replica]) -> float:
    """Seconds from both being back until what one has learned the other knows."""
    await _until(lambda: all(r.sharing and r.sharing.state == "shared" for r in replicas[:2]))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    one, other = (next(iter(r.fleet.conditions.values())) for r in replicas[:2])
    one.cool_down(5.0, replicas[0].fleet.clock())
    news = replicas[0].fleet.news
    assert news is not None, "it shares"
    news.touched.add(one.deployment_id)
    await _until(lambda: other.cooldown_until > replicas[1].fleet.clock())
    return loop.time() - begun


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _pause(redis: Redis, seconds: float) -> None:
    redis.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    redis.send(signal.SIGCONT)


async def _bounce(redis: Redis) -> None:
    for _ in range(3):
        await redis.kill()
        await asyncio.sleep(1)
        await redis.start()
        await asyncio.sleep(2)


async def measure(folder: Path) -> tuple[list[Row], list[float]]:
    """Every stretch, and how long it took to agree again after each."""
    redis = Redis(folder)
    await redis.start()
    replicas = [Replica(redis.url), Replica(redis.url), Replica(None)]
    rows, agreed = [], []
    try:
        for replica in replicas[:2]:
            assert replica.sharing
            replica.sharing.start()
        await _until(lambda: all(r.sharing and r.sharing.processes == 2 for r in replicas[:2]))
        rows.append(await stretch("healthy", replicas, None))
        rows.append(await stretch("killed", replicas, redis.kill()))
        await redis.start()
        agreed.append(await converged(replicas))
        rows.append(await stretch("hung for 5 s", replicas, _pause(redis, 5)))
        agreed.append(await converged(replicas))
        rows.append(await stretch("killed and started, 3 times", replicas, _bounce(redis)))
        agreed.append(await converged(replicas))
    finally:
        for replica in replicas[:2]:
            assert replica.sharing
            await replica.sharing.aclose()
        await redis.kill()
    return rows, agreed


def main() -> int:
    """Print the table; 1 if a call failed or sharing added more than it may."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as name:
        rows, agreed = uvloop.run(measure(Path(name)))
    print(f"3 x {1 / RATE_S:.0f} calls/s, {DEPLOYMENTS} deployments; ms beyond the answer's own")
    print(f"{'Redis is':30}errors  shared p50     p99  control p50     p99  added to p99")
    for r in rows:
        print(
            f"{r.name:30}{r.errors:6}{r.shared[0]:12.2f}{r.shared[1]:8.2f}"
            f"{r.control[0]:13.2f}{r.control[1]:8.2f}{r.added_ms:14.2f}"
        )
    print("agreed again after", ", ".join(f"{s:.2f} s" for s in agreed))
    well = all(r.errors == 0 and r.added_ms <= LIMIT_MS for r in rows)
    return int(not well or max(agreed) > CONVERGED_S)


if __name__ == "__main__":
    sys.exit(main())
