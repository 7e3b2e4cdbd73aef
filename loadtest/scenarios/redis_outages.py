"""Latency and errors of calls while Redis is killed, hung and restarted: `python -m loadtest.scenarios.redis_outages`.

Three gateways run in this process: two share their state through a real redis-server, the third does
not and is the control: what all three show is the machine's doing. Calls come at a steady rate and
their responses take a fixed time. Prints, for each phase, the errors and the time that calls take
beyond their responses.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from hamlet.config import Policy, loads
from hamlet.core import ModelCard
from hamlet.gateway import Admission, Call, Caller, Gateway, Observers
from hamlet.registry import (
    Deployment,
    ProviderHandle,
    Registry,
    RegistryHolder,
    ReservedThroughput,
    Route,
)
from hamlet.routing import LoadBalancer, PendingUpdates, ProbeLeases, SyncTask
from hamlet.spi import operations
from hamlet.testing import ScriptedProvider, says
from hamlet.testing.cases import chat_request
from hamlet.testing.support import SilentLog
from loadtest.engine.quantiles import p50_p99
from loadtest.engine.redis_server import RedisServer
from loadtest.engine.waiting import wait_until

CALL_INTERVAL_S, RESPONSE_S, PHASE_S = 0.04, 0.02, 12.0
LIMIT_MS, DEPLOYMENTS, MAX_CONVERGENCE_S = 2.0, 27, 2.0


_CONFIG = loads("providers: {p: {kind: k}}\nroutes: {r: {deployments: [{provider: p, model: m}]}}")


class Replica:
    """A gateway over 27 reserved deployments that respond after a fixed time."""

    def __init__(self, url: str | None) -> None:
        rows = tuple(_deployment(i) for i in range(DEPLOYMENTS))
        self.route = Route("r", "chat", (rows,), Policy())
        leases = ProbeLeases()
        self.load_balancer = LoadBalancer(
            rng=random.Random(1),
            may_probe=leases.is_held if url else lambda _: True,
            pending_updates=PendingUpdates() if url else None,
        )
        holder = RegistryHolder(Registry(_CONFIG.config, {}, {"r": self.route}))
        self.gateway = Gateway(
            holder, Admission(1000), Observers([], SilentLog()), self.load_balancer
        )
        self.sync = url and SyncTask(
            self.load_balancer, leases, url, "bench", lambda: rows, SilentLog(), lambda state: None
        )
        self.added_ms: list[float] = []
        self.errors = 0

    async def call(self, due: float) -> None:
        """One call; its added time counts from when it was due."""
        try:
            stream = await self.gateway.chat(
                Call.from_request(chat_request("hi", "r", stream=True), "b"), Caller()
            )
            try:
                async for _ in stream:
                    pass
            finally:
                await stream.aclose()
        except Exception:
            self.errors += 1
        took = time.perf_counter() - due
        self.added_ms.append(1000 * (took - RESPONSE_S))


def _deployment(i: int) -> Deployment:
    provider = ScriptedProvider([RESPONSE_S, *says("hello")])
    handle = ProviderHandle(f"d{i}", "scripted", provider, operations(provider), None)
    return Deployment(
        f"d{i}/m",
        handle,
        "m",
        ModelCard(),
        region=f"r{i % 9}",
        capacity=ReservedThroughput(1000, 2500, 3.0),
    )


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """Errors of a phase, and (p50, p99) of added milliseconds with shared state and of the control."""

    name: str
    errors: int
    shared: tuple[float, float]
    control: tuple[float, float]

    @property
    def added_ms(self) -> float:
        """What sharing adds to the 99th percentile, in milliseconds."""
        return self.shared[1] - self.control[1]


async def run_phase(
    name: str, replicas: list[Replica], disruption: Awaitable[object] | None
) -> PhaseResult:
    """Steady load on all replicas during the disruption; waits until every call has ended."""
    for replica in replicas:
        replica.added_ms.clear()
        replica.errors = 0
    # Not the loop's clock: uvloop's has a resolution of a millisecond.
    begun, tasks = time.perf_counter(), []
    disruption_task = asyncio.ensure_future(disruption) if disruption is not None else None
    for i in range(int(PHASE_S / CALL_INTERVAL_S)):
        due = begun + i * CALL_INTERVAL_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        # The order rotates, since the first of the three waits least.
        rotated = replicas[i % 3 :] + replicas[: i % 3]
        tasks += [asyncio.create_task(replica.call(due)) for replica in rotated]
    await asyncio.gather(*tasks)
    if disruption_task is not None:
        await disruption_task
    shared = replicas[0].added_ms + replicas[1].added_ms
    errors = sum(replica.errors for replica in replicas)
    return PhaseResult(name, errors, p50_p99(shared), p50_p99(replicas[2].added_ms))


async def measure_convergence_s(replicas: list[Replica]) -> float:
    """Seconds from both being connected again until one knows what the other has learned."""
    await wait_until(lambda: all(r.sync and r.sync.state == "shared" for r in replicas[:2]))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    first_state, second_state = (
        next(iter(r.load_balancer.deployment_states.values())) for r in replicas[:2]
    )
    first_state.cool_down(5.0, replicas[0].load_balancer.clock())
    events = replicas[0].load_balancer.pending_updates
    assert events is not None, "state is shared"
    events.changed_ids.add(first_state.deployment_id)
    await wait_until(lambda: second_state.cooldown_until > replicas[1].load_balancer.clock())
    return loop.time() - begun


async def _hang(redis: RedisServer, seconds: float) -> None:
    redis.pause()
    await asyncio.sleep(seconds)
    redis.resume()


async def _restart_repeatedly(redis: RedisServer) -> None:
    for _ in range(3):
        await redis.kill()
        await asyncio.sleep(1)
        await redis.start()
        await asyncio.sleep(2)


async def measure(folder: Path) -> tuple[list[PhaseResult], list[float]]:
    """The results of every phase, and the seconds until both replicas agreed again after each."""
    redis = RedisServer(folder)
    await redis.start()
    replicas = [Replica(redis.url), Replica(redis.url), Replica(None)]
    rows, convergence_s = [], []
    try:
        for replica in replicas[:2]:
            assert replica.sync
            replica.sync.start()
        await wait_until(lambda: all(r.sync and r.sync.process_count == 2 for r in replicas[:2]))
        rows.append(await run_phase("healthy", replicas, None))
        rows.append(await run_phase("killed", replicas, redis.kill()))
        await redis.start()
        convergence_s.append(await measure_convergence_s(replicas))
        rows.append(await run_phase("hung for 5 s", replicas, _hang(redis, 5)))
        convergence_s.append(await measure_convergence_s(replicas))
        rows.append(
            await run_phase("killed and started, 3 times", replicas, _restart_repeatedly(redis))
        )
        convergence_s.append(await measure_convergence_s(replicas))
    finally:
        for replica in replicas[:2]:
            assert replica.sync
            await replica.sync.aclose()
        await redis.kill()
    return rows, convergence_s


def main() -> int:
    """Print the table; 1 if a call failed or sharing added more than LIMIT_MS to the p99."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as name:
        rows, convergence_s = uvloop.run(measure(Path(name)))
    print(
        f"3 x {1 / CALL_INTERVAL_S:.0f} calls/s, {DEPLOYMENTS} deployments; ms beyond the response's own"
    )
    print(f"{'Redis is':30}errors  shared p50     p99  control p50     p99  added to p99")
    for r in rows:
        print(
            f"{r.name:30}{r.errors:6}{r.shared[0]:12.2f}{r.shared[1]:8.2f}"
            f"{r.control[0]:13.2f}{r.control[1]:8.2f}{r.added_ms:14.2f}"
        )
    print("converged after", ", ".join(f"{s:.2f} s" for s in convergence_s))
    passed = all(r.errors == 0 and r.added_ms <= LIMIT_MS for r in rows)
    return int(not passed or max(convergence_s) > MAX_CONVERGENCE_S)


if __name__ == "__main__":
    sys.exit(main())
