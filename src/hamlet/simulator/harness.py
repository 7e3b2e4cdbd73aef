"""Plays a trace against the real gateway over a simulated world, and adds up what came of it.

On a virtual loop twenty minutes of load take seconds. Requests come when the trace says, whether
or not earlier ones were answered (open loop).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from hamlet.config import Loaded
from hamlet.core import ChatParams, ChatRequest, Message, NativeChunk, Text, is_content
from hamlet.core.errors import HamletError, RateLimited
from hamlet.gateway import Admission, Attempt, Call, Caller, Gateway, Observer, Observers, Record
from hamlet.registry import Registry, RegistryHolder
from hamlet.routing import Fleet
from hamlet.runtime import SilentLog
from hamlet.simulator import virtual_time as virtual
from hamlet.simulator.faults import Fault
from hamlet.simulator.fleet import deployments_of, simulated_registry
from hamlet.simulator.report import Outcome, Report
from hamlet.simulator.requests import marker
from hamlet.simulator.spec import Simulated
from hamlet.simulator.traces import Arrival
from hamlet.simulator.world import World

Clock = Callable[[], float]
Make = Callable[[RegistryHolder, Observers, Clock], Gateway]
# Simulated answers come in few pieces, so that seconds buy more requests.
_TOKENS_PER_FRAME = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """How a trace becomes calls: which route, which limit of output, which deadline (seconds).

    By default the limit is a quarter over what the answer takes, as a well set client's is, and no
    client leaves before its answer has ended.
    """

    route: Callable[[Arrival], str] = lambda arrival: "chat"
    max_tokens: Callable[[Arrival], int | None] = lambda arrival: arrival.output * 5 // 4 + 1
    deadline_s: Callable[[Arrival], float | None] = lambda arrival: None
    leaves_after_s: Callable[[Arrival], float | None] = lambda arrival: None
    stream: bool = True
    bytes_per_token: Callable[[Arrival], float] = lambda arrival: _varied(arrival)


def _varied(arrival: Arrival) -> float:
    """Four bytes a token, give or take 15 %: estimates of a prompt are never right."""
    return 4.0 * (0.85 + 0.3 * math.modf(arrival.at_s * 997.0)[0])


def default_gateway(holder: RegistryHolder, observers: Observers, clock: Clock) -> Gateway:
    """A gateway with no limit of its own that matters."""
    # From the generator that `virtual.run` has seeded, so that a seed decides the fleet's luck too.
    rng = random.Random(random.getrandbits(64))
    return Gateway(holder, Admission(1_000_000, clock), observers, Fleet(clock, rng))


class Run:
    """One run: a world, a registry over it, a gateway, and what is seen of them.

    `observers` see every attempt and end as the gateway tells them, `on_outcome` each request as it
    ends, `on_item` all that its client gets. They are for invariants: the first thing they raise
    ends the run, once the requests under way are done.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        seed: int,
        specs: Sequence[Simulated] | None = None,
        faults: Iterable[Fault] = (),
        plan: Plan | None = None,
        make: Make = default_gateway,
        observers: Sequence[Observer] = (),
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
        on_item: Callable[[str, Any], None] = lambda request_id, item: None,
    ) -> None:
        self.clock: Clock = asyncio.get_running_loop().time
        self.world = World(
            deployments_of(loaded.config) if specs is None else specs,
            seed=seed,
            clock=self.clock,
            faults=faults,
        )
        self.plan = plan or Plan()
        self.report = Report()
        log = SilentLog()
        self.registry: Registry = simulated_registry(loaded, self.world, log)
        self._tiers = _tiers(self.registry)
        self._records: dict[str, Record] = {}
        self._start = self.clock()
        self._watch = _Watch(self.report, self._records, observers, self._start)
        told = Observers([self._watch], log)
        self.gateway = make(RegistryHolder(self.registry), told, self.clock)
        self._on_outcome = on_outcome
        self._on_item = on_item

    async def drive(self, arrivals: Iterable[Arrival]) -> Report:
        """Send every request at its time and wait for all to end."""
        async with asyncio.TaskGroup() as group:
            for i, arrival in enumerate(arrivals):
                wait = self._start + arrival.at_s - self.clock()
                if wait > 0:
                    await asyncio.sleep(wait)
                if self._watch.failure is not None:
                    break
                group.create_task(self._one(arrival, f"sim-{i}"))
        if self._watch.failure is not None:
            raise self._watch.failure
        self.report.world = self.world.state()
        return self.report

    async def _one(self, arrival: Arrival, request_id: str) -> None:
        begin = self.clock()
        limit = self.plan.deadline_s(arrival)
        outcome = Outcome(arrival, begin - self._start, limit, request_id=request_id)
        try:
            async with asyncio.timeout(self.plan.leaves_after_s(arrival)) as leaving:
                await self._ask(arrival, request_id, outcome, begin)
            outcome.ok = True
        except HamletError as error:
            outcome.error = error
        except TimeoutError:
            if not leaving.expired():
                raise
            outcome.left = True
        outcome.duration_s = self.clock() - begin
        self._complete(outcome, self._records.pop(request_id, None))
        self.report.outcomes.append(outcome)
        self._watch.hold(self._on_outcome, outcome)

    async def _ask(self, arrival: Arrival, request_id: str, outcome: Outcome, begin: float) -> None:
        call = call_of(arrival, self.plan, request_id)
        stream = await self.gateway.chat(call, Caller())
        try:
            async for item in stream:
                self._watch.hold(self._on_item, request_id, item)
                if outcome.ttft_s is None and _shows(item):
                    outcome.ttft_s = self.clock() - begin
            usage = stream.meter.usage
            outcome.output = (usage and usage.output_tokens) or 0
        finally:
            await stream.aclose()

    def _complete(self, outcome: Outcome, record: Record | None) -> None:
        if record is None:
            return
        outcome.attempts = record.attempts
        if record.deployment is not None:
            outcome.deployment = record.deployment.id
            tier = self._tiers.get((record.route, record.deployment.id), -1)
            outcome.tier = tier if outcome.ok else -1


def simulate(loaded: Loaded, arrivals: Sequence[Arrival], *, seed: int, **options: Any) -> Report:
    """A whole run on virtual time; `options` are those of Run. Same arguments, same report."""
    if "specs" not in options:
        options["specs"] = brisk(deployments_of(loaded.config))

    async def main() -> Report:
        run = Run(loaded, seed=seed, **options)
        try:
            return await run.drive(arrivals)
        finally:
            await run.registry.aclose()

    return virtual.run(main(), seed)


def brisk(specs: Iterable[Simulated]) -> list[Simulated]:
    """The same deployments, their answers in few large events."""
    return [replace(spec, tokens_per_frame=_TOKENS_PER_FRAME) for spec in specs]


def call_of(arrival: Arrival, plan: Plan, request_id: str) -> Call:
    """The call that an OpenAI client's request for this arrival becomes."""
    route, limit = plan.route(arrival), plan.max_tokens(arrival)
    text = marker(arrival.prompt, arrival.output)
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
        build=lambda: ChatRequest(
            route, (Message("user", (Text(text),)),), params=params, stream=plan.stream
        ),
        dialect="openai",
        fields={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in body.items()},
        size=round(arrival.prompt * plan.bytes_per_token(arrival)),
        request_id=request_id,
        total_s=plan.deadline_s(arrival),
    )


class _Watch(Observer):
    """Counts attempts, keeps the record of each ended call, and passes everything on.

    The gateway shields itself from observers that raise; a broken invariant must not be shielded,
    so the first one is kept in `failure`.
    """

    def __init__(
        self, report: Report, records: dict[str, Record], others: Sequence[Observer], start: float
    ) -> None:
        self._report = report
        self._start = start
        self._records = records
        self._others = others
        self.failure: Exception | None = None

    def on_start(self, record: Record) -> None:
        self._tell("on_start", record)

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        report = self._report
        report.attempts += 1
        report.attempts_by_deployment[attempt.deployment.id] += 1
        if attempt.error is not None:
            report.attempt_errors[attempt.error.code] += 1
            if isinstance(attempt.error, RateLimited):
                report.refused_at.append(attempt.started + attempt.duration_s - self._start)
        self._tell("on_attempt", record, attempt)

    def on_end(self, record: Record) -> None:
        self._records[record.request_id] = record
        self._tell("on_end", record)

    def _tell(self, method: str, *args: object) -> None:
        for other in self._others:
            self.hold(getattr(other, method), *args)

    def hold(self, hook: Callable[..., None], *args: object) -> None:
        """Call a hook and keep what it raises."""
        try:
            hook(*args)
        except Exception as error:
            self.failure = self.failure or error


def _tiers(registry: Registry) -> dict[tuple[str, str], int]:
    return {
        (route.name, deployment.id): i
        for route in registry.routes.values()
        for i, tier in enumerate(route.tiers)
        for deployment in tier
    }


def _shows(item: Any) -> bool:
    return item.content if isinstance(item, NativeChunk) else is_content(item)
