"""Replays a trace against the real gateway over a simulated world, and collects the outcomes.

On a virtual loop twenty minutes of load take seconds. Requests arrive at the times of the trace,
whether or not earlier ones were answered (open loop).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from hamlet.config import LoadedConfig
from hamlet.core import ChatParams, ChatRequest, Message, NativeChunk, Text, is_content
from hamlet.core.errors import HamletError, RateLimited
from hamlet.gateway import (
    Admission,
    Attempt,
    Call,
    Caller,
    CallRecord,
    Gateway,
    Observer,
    Observers,
)
from hamlet.registry import Registry, RegistryHolder
from hamlet.routing import LoadBalancer
from hamlet.runtime import SilentLog
from hamlet.simulator import virtual_time
from hamlet.simulator.arrival_traces import Arrival
from hamlet.simulator.configuration import simulated_deployments, simulated_registry
from hamlet.simulator.faults import Fault
from hamlet.simulator.report import RequestOutcome, SimulationReport
from hamlet.simulator.simulated_request import marker
from hamlet.simulator.spec import SimulatedDeployment
from hamlet.simulator.world import World

Clock = Callable[[], float]
GatewayFactory = Callable[[RegistryHolder, Observers, Clock], Gateway]
# Few large events per answer: simulating more requests per second matters more here.
_TOKENS_PER_FRAME = 50


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """How arrivals become calls: route, output limit in tokens, deadline in seconds.

    By default the limit is 25 % above the answer's length, and no client disconnects early.
    """

    route: Callable[[Arrival], str] = lambda arrival: "chat"
    max_tokens: Callable[[Arrival], int | None] = lambda arrival: arrival.output_tokens * 5 // 4 + 1
    deadline_s: Callable[[Arrival], float | None] = lambda arrival: None
    disconnect_after_s: Callable[[Arrival], float | None] = lambda arrival: None
    stream: bool = True
    bytes_per_token: Callable[[Arrival], float] = lambda arrival: _default_bytes_per_token(arrival)


def _default_bytes_per_token(arrival: Arrival) -> float:
    """Four bytes per token, plus or minus 15 %, since estimates of prompts are inexact."""
    return 4.0 * (0.85 + 0.3 * math.modf(arrival.at_s * 997.0)[0])


def default_gateway(holder: RegistryHolder, observers: Observers, clock: Clock) -> Gateway:
    """A gateway whose own limits are never reached."""
    # Seeded from the global generator, which `virtual_time.run` has seeded.
    rng = random.Random(random.getrandbits(64))
    return Gateway(holder, Admission(1_000_000, clock), observers, LoadBalancer(clock, rng))


class SimulationRun:
    """One run: a world, a registry over it, a gateway, and their report.

    `observers` get every attempt and end from the gateway, `on_outcome` each request's outcome,
    `on_item` every item that a client receives. They check invariants: their first exception ends
    the run after the requests in flight.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        *,
        seed: int,
        specs: Sequence[SimulatedDeployment] | None = None,
        faults: Iterable[Fault] = (),
        plan: TrafficPlan | None = None,
        gateway_factory: GatewayFactory = default_gateway,
        observers: Sequence[Observer] = (),
        on_outcome: Callable[[RequestOutcome], None] = lambda outcome: None,
        on_item: Callable[[str, Any], None] = lambda request_id, item: None,
    ) -> None:
        self.clock: Clock = asyncio.get_running_loop().time
        self.world = World(
            simulated_deployments(loaded.config) if specs is None else specs,
            seed=seed,
            clock=self.clock,
            faults=faults,
        )
        self.plan = plan or TrafficPlan()
        self.report = SimulationReport()
        log = SilentLog()
        self.registry: Registry = simulated_registry(loaded, self.world, log)
        self._tier_by_deployment = _tiers_by_deployment(self.registry)
        self._ended_records: dict[str, CallRecord] = {}
        self._start = self.clock()
        self._run_observer = _RunObserver(self.report, self._ended_records, observers, self._start)
        run_observers = Observers([self._run_observer], log)
        self.gateway = gateway_factory(RegistryHolder(self.registry), run_observers, self.clock)
        self._on_outcome = on_outcome
        self._on_item = on_item

    async def replay(self, arrivals: Iterable[Arrival]) -> SimulationReport:
        """Send every request at its time and wait for all to end. Raises what a hook raised."""
        async with asyncio.TaskGroup() as group:
            for i, arrival in enumerate(arrivals):
                wait = self._start + arrival.at_s - self.clock()
                if wait > 0:
                    await asyncio.sleep(wait)
                if self._run_observer.first_error is not None:
                    break
                group.create_task(self._run_request(arrival, f"sim-{i}"))
        if self._run_observer.first_error is not None:
            raise self._run_observer.first_error
        self.report.final_state = self.world.state()
        return self.report

    async def _run_request(self, arrival: Arrival, request_id: str) -> None:
        started = self.clock()
        deadline_s = self.plan.deadline_s(arrival)
        outcome = RequestOutcome(arrival, started - self._start, deadline_s, request_id=request_id)
        try:
            async with asyncio.timeout(self.plan.disconnect_after_s(arrival)) as client_timeout:
                await self._call_gateway(arrival, request_id, outcome, started)
            outcome.ok = True
        except HamletError as error:
            outcome.error = error
        except TimeoutError:
            if not client_timeout.expired():
                raise
            outcome.client_disconnected = True
        outcome.duration_s = self.clock() - started
        self._add_routing(outcome, self._ended_records.pop(request_id, None))
        self.report.outcomes.append(outcome)
        self._run_observer.capture_error(self._on_outcome, outcome)

    async def _call_gateway(
        self, arrival: Arrival, request_id: str, outcome: RequestOutcome, started: float
    ) -> None:
        call = call_for(arrival, self.plan, request_id)
        stream = await self.gateway.chat(call, Caller())
        try:
            async for item in stream:
                self._run_observer.capture_error(self._on_item, request_id, item)
                if outcome.ttft_s is None and _has_content(item):
                    outcome.ttft_s = self.clock() - started
            usage = stream.stats.usage
            outcome.output_tokens = (usage and usage.output_tokens) or 0
        finally:
            await stream.aclose()

    def _add_routing(self, outcome: RequestOutcome, record: CallRecord | None) -> None:
        if record is None:
            return
        outcome.attempts = record.attempts
        if record.deployment is not None:
            outcome.deployment = record.deployment.id
            tier = self._tier_by_deployment.get((record.route, record.deployment.id), -1)
            outcome.tier = tier if outcome.ok else -1


def simulate(
    loaded: LoadedConfig, arrivals: Sequence[Arrival], *, seed: int, **options: Any
) -> SimulationReport:
    """A complete run on virtual time. The same arguments give the same report.

    `options` are those of SimulationRun.
    """
    if "specs" not in options:
        options["specs"] = with_coarse_frames(simulated_deployments(loaded.config))

    async def main() -> SimulationReport:
        run = SimulationRun(loaded, seed=seed, **options)
        try:
            return await run.replay(arrivals)
        finally:
            await run.registry.aclose()

    return virtual_time.run(main(), seed)


def with_coarse_frames(specs: Iterable[SimulatedDeployment]) -> list[SimulatedDeployment]:
    """The same deployments with fewer, larger events per answer."""
    return [replace(spec, tokens_per_frame=_TOKENS_PER_FRAME) for spec in specs]


def call_for(arrival: Arrival, plan: TrafficPlan, request_id: str) -> Call:
    """The call that an OpenAI client's request for this arrival becomes."""
    route, limit = plan.route(arrival), plan.max_tokens(arrival)
    text = marker(arrival.prompt_tokens, arrival.output_tokens)
    body: dict[str, Any] = {
        "model": route,
        "messages": [{"role": "user", "content": text}],
        "stream": plan.stream,
    }
    params = ChatParams()
    if limit is not None:
        body["max_completion_tokens"] = limit
        params = ChatParams(max_tokens=limit)
    return Call(
        model=route,
        stream=plan.stream,
        params=params,
        features=frozenset(),
        build_request=lambda: ChatRequest(
            route, (Message("user", (Text(text),)),), params=params, stream=plan.stream
        ),
        dialect="openai",
        fields={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in body.items()},
        prompt_bytes=round(arrival.prompt_tokens * plan.bytes_per_token(arrival)),
        request_id=request_id,
        timeout_s=plan.deadline_s(arrival),
    )


class _RunObserver(Observer):
    """Counts attempts, keeps the record of each ended call, and notifies other observers.

    The gateway suppresses exceptions of observers. Violated invariants must not be lost, so the
    first exception is kept in `first_error`.
    """

    def __init__(
        self,
        report: SimulationReport,
        records: dict[str, CallRecord],
        others: Sequence[Observer],
        start: float,
    ) -> None:
        self._report = report
        self._start = start
        self._ended_records = records
        self._others = others
        self.first_error: Exception | None = None

    def on_start(self, record: CallRecord) -> None:
        self._notify("on_start", record)

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        report = self._report
        report.attempts += 1
        report.attempts_by_deployment[attempt.deployment.id] += 1
        if attempt.error is not None:
            report.attempt_errors[attempt.error.code] += 1
            if isinstance(attempt.error, RateLimited):
                report.rate_limited_at_s.append(
                    attempt.started_at + attempt.duration_s - self._start
                )
        self._notify("on_attempt", record, attempt)

    def on_end(self, record: CallRecord) -> None:
        self._ended_records[record.request_id] = record
        self._notify("on_end", record)

    def _notify(self, method: str, *args: object) -> None:
        for other in self._others:
            self.capture_error(getattr(other, method), *args)

    def capture_error(self, hook: Callable[..., None], *args: object) -> None:
        """Call a hook and keep what it raises."""
        try:
            hook(*args)
        except Exception as error:
            self.first_error = self.first_error or error


def _tiers_by_deployment(registry: Registry) -> dict[tuple[str, str], int]:
    return {
        (route.name, deployment.id): i
        for route in registry.routes.values()
        for i, tier in enumerate(route.tiers)
        for deployment in tier
    }


def _has_content(item: Any) -> bool:
    return item.content if isinstance(item, NativeChunk) else is_content(item)
