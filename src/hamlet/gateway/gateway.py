"""The use case "call a model": admit, plan, attempt, commit, settle."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from hamlet.core import EmbeddingRequest, EmbeddingResponse, Headroom, Usage
from hamlet.core.errors import (
    HamletError,
    RequestError,
    RouteNotFound,
    UpstreamTimeout,
)
from hamlet.core.trace import trace_id
from hamlet.gateway.admission import Admission, Importance, check_route
from hamlet.gateway.attempt import Attempting, Held
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.hedge import hedged
from hamlet.gateway.hunt import Hunt
from hamlet.gateway.observers import Observers, Operation, Record
from hamlet.gateway.paced_stream import Flow
from hamlet.gateway.parameters import prepare_chat, prepare_native, speaks
from hamlet.gateway.retry import pursue
from hamlet.gateway.stream import ChatStream, Meter, limits, open_stream
from hamlet.registry import Registry, RegistryHolder
from hamlet.registry.model import Route
from hamlet.routing import Booking, Choice, Demand, Fleet, Traffic
from hamlet.routing.cost_estimate import Estimator
from hamlet.spi import Deadline

T = TypeVar("T")


class _Pursuit(Struct):
    """One chat call on its way: what all its attempts share."""

    call: Call
    traffic: Traffic
    demand: Demand
    record: Record
    held: Held
    remaining: Callable[[], float]
    hunt: Hunt


class Gateway:
    """Calls models by route name. Knows no HTTP framework and no vendor."""

    def __init__(
        self,
        registries: RegistryHolder,
        admission: Admission,
        observers: Observers,
        fleet: Fleet | None = None,
    ) -> None:
        self._registries = registries
        self.admission = admission
        self._observers = observers
        self.fleet = fleet or Fleet()
        self._clock = self.fleet.clock

    async def chat(self, call: Call, caller: Caller) -> ChatStream:
        """Answer a chat call with a committed stream, which the caller must `aclose()`.

        Raises RequestError before any upstream is asked, else the last ProviderError.
        """
        record = self._record("chat", call.model, caller, call.request_id)
        record.stream, record.dialect = call.stream, call.dialect
        held = Held(lease := self._registries.take(), self.admission, caller)
        try:
            route = _route(lease.registry, record, caller, "chat")
            total_s = min(route.policy.total_s, call.total_s or route.policy.total_s)
            await self.admission.enter(caller, _importance(route), total_s)
            self._entered(held, record)
            pursuit = self._pursuit(call, route, record, held, self._countdown(total_s))
            stream = await pursue(pursuit.hunt, partial(self._attempt, pursuit))
        except BaseException as error:
            self._fail(record, error)
            held.close()
            raise
        record.native, record.warnings = stream.native, stream.warnings
        return stream

    async def embed(
        self, request: EmbeddingRequest, caller: Caller, request_id: str = ""
    ) -> EmbeddingResponse:
        """Embed texts; errors as in `chat`."""
        record = self._record("embeddings", request.model, caller, request_id)
        held = Held(lease := self._registries.take(), self.admission, caller)
        try:
            route = _route(lease.registry, record, caller, "embeddings")
            await self.admission.enter(caller, _importance(route), route.policy.total_s)
            self._entered(held, record)
            remaining = self._countdown(route.policy.total_s)
            traffic = held.join(self.fleet.traffic(route, stream=False))
            size = sum(len(text.encode("utf-8", "replace")) for text in request.inputs)
            demand = Demand(traffic.estimator.input_tokens(size), stream=False)
            hunt = Hunt(self.fleet, traffic, demand, remaining)

            async def once(choice: Choice) -> EmbeddingResponse:
                deployment = choice.deployment
                booking = self.fleet.begin(choice, demand)
                with self.attempting(record, booking) as attempt:
                    sent = replace(request, model=deployment.model)
                    answer: Awaitable[EmbeddingResponse] = deployment.provider.instance.embed(sent)
                    response = await within(answer, hunt.first_token_limit(choice))
                attempt.passed()
                self.fleet.settle(booking, response.usage)
                return response

            response = await pursue(hunt, once)
            record.usage = response.usage
        except BaseException as error:
            self._fail(record, error)
            raise
        else:
            self._end(record)
            return response
        finally:
            held.close()

    # -- the steps

    def _record(self, operation: Operation, route: str, caller: Caller, request_id: str) -> Record:
        record = Record(operation, route, caller.name, request_id, False, self._clock())
        record.trace_id = trace_id()
        return record

    def _entered(self, held: Held, record: Record) -> None:
        record.queue_s = self._clock() - record.started
        held.placed = record.admitted = True
        self._observers.on_start(record)

    def _pursuit(
        self,
        call: Call,
        route: Route,
        record: Record,
        held: Held,
        remaining: Callable[[], float],
    ) -> _Pursuit:
        # What is held back until it is whole is judged like an answer in one piece.
        visible = call.stream and not route.policy.hold_back
        traffic = held.join(self.fleet.traffic(route, stream=visible))
        demand = demand_of(call, traffic, stream=visible)
        hunt = Hunt(self.fleet, traffic, demand, remaining)
        return _Pursuit(call, traffic, demand, record, held, remaining, hunt)

    def _attempt(self, pursuit: _Pursuit, choice: Choice) -> Awaitable[ChatStream]:
        """One attempt, with another beside it where the route or a probe wants that."""
        after_s = pursuit.hunt.hedge_after(choice)
        if after_s is None:
            return self._open(pursuit, choice)

        def backup() -> Awaitable[ChatStream] | None:
            other = pursuit.hunt.backup(choice)
            return self._open(pursuit, other, hedge=True) if other is not None else None

        return hedged(
            self._open(pursuit, choice),
            backup,
            after_s,
            ChatStream.discard,
            stand_in=choice.probe,
        )

    async def _open(self, pursuit: _Pursuit, choice: Choice, *, hedge: bool = False) -> ChatStream:
        call, record, policy = pursuit.call, pursuit.record, pursuit.traffic.route.policy
        deployment = choice.member.deployment
        native = speaks(deployment, call)
        prepare = prepare_native if native else prepare_chat
        body, warnings = prepare(call, deployment, policy)
        booking = self.fleet.begin(choice, pursuit.demand)
        with self.attempting(record, booking, hedge=hedge) as attempt:
            head, source = await self._ask(pursuit, choice, native, body)
        booking.headroom, written = _told(head)
        # A whole answer is told by its length, which its head knows.
        passed = partial(attempt.passed, None if pursuit.demand.stream else written)
        if call.stream:
            # Whoever reads a stream may take minutes, which are not the deployment's.
            passed()
        late = None if call.stream else passed
        flow = Flow(source, limits(policy, pursuit.remaining())) if source is not None else None
        # Of the call only this: a stream must keep neither its prompt nor its search.
        learner = pursuit.traffic.estimator
        settle = partial(self._settle, record, pursuit.held, booking, learner, call.size, late)
        return ChatStream(
            head, flow, native=native, warnings=warnings, settle=settle, clock=self._clock
        )

    async def _ask(
        self, pursuit: _Pursuit, choice: Choice, native: bool, body: Any
    ) -> tuple[list[Any], AsyncGenerator[Any, None] | None]:
        """What comes up to the commit point, and where the rest comes from, if that is not all."""
        provider, streamed = choice.member.deployment.provider, pursuit.call.stream
        limit_s, held = pursuit.hunt.first_token_limit(choice), None
        if native and not streamed and "native_whole" in provider.operations:
            return [await within(provider.instance.native_whole(body), limit_s)], None
        policy = pursuit.traffic.route.policy
        if streamed and policy.hold_back:
            held = limits(policy, pursuit.remaining())
            limit_s = min(limit_s, policy.first_token_s)
        source: AsyncGenerator[Any, None]
        source = provider.instance.native(body) if native else provider.instance.chat(body)
        whole = not pursuit.demand.stream
        head, ended = await open_stream(source, whole=whole, timeout_s=limit_s, held=held)
        return head, None if ended else source

    def _settle(
        self,
        record: Record,
        held: Held,
        booking: Booking,
        learner: Estimator,
        size: int,
        passed: Callable[[], None] | None,
        meter: Meter,
    ) -> None:
        """Keep the books of an answer, with those of its attempt if those were left for now."""
        if passed is not None:
            passed()
        if meter.unwanted:
            return self.fleet.settle(booking, meter.usage, meter.events)
        record.deployment, record.tier = booking.member.deployment, booking.tier
        held.close()
        record.usage = meter.usage or record.usage
        record.finish = meter.finish
        record.error = meter.error
        record.first_token_s = meter.first_token_at - record.started
        if meter.error is not None:
            record.outcome = "error"
            self.fleet.failed(booking, meter.error)
        elif not meter.whole:
            record.outcome = "cancelled"
            read = round(booking.demand.input_tokens)
            record.usage = meter.usage or Usage(read, meter.events, estimated=True)
        else:
            learner.learn(size, record.usage)
        self.fleet.settle(booking, meter.usage, meter.events)
        return self._end(record)

    def _end(self, record: Record) -> None:
        record.duration_s = self._clock() - record.started
        self._observers.on_end(record)

    def _fail(self, record: Record, error: BaseException) -> None:
        """A call ends without an answer."""
        if isinstance(error, HamletError):
            record.outcome = "rejected" if isinstance(error, RequestError) else "error"
            record.error = error
        else:
            record.outcome = "cancelled"
        self._end(record)

    def attempting(self, record: Record, booking: Booking, *, hedge: bool = False) -> Attempting:
        """The bracket around one attempt."""
        return Attempting(self.fleet, self._observers, record, booking, hedge=hedge)

    def _countdown(self, total_s: float) -> Callable[[], float]:
        clock = self._clock
        end = clock() + total_s

        def remaining() -> float:
            left = end - clock()
            return left if left > 0 else 0.0

        return remaining


def demand_of(call: Call, traffic: Traffic, *, stream: bool) -> Demand:
    """What the call asks of a deployment, as far as that can be known beforehand."""
    estimator = traffic.estimator
    reserved, likely = estimator.output_tokens(_limit(call, traffic))
    per_byte, prefixes = estimator.input_tokens(1), call.prefixes()
    return Demand(
        call.size * per_byte,
        reserved,
        likely,
        stream,
        traffic.route.sheddable,
        call.features,
        tuple([(key, size * per_byte) for key, size in prefixes]) if prefixes else (),
    )


def _limit(call: Call, traffic: Traffic) -> int | None:
    """`max_tokens` as it will be sent: the same for all deployments of most routes."""
    first = traffic.route.tiers[0][0]
    asked = call.params.max_tokens or first.defaults.max_tokens
    cap = first.caps.max_tokens
    return min(asked, cap) if asked and cap else asked or cap


def _route(registry: Registry, record: Record, caller: Caller, operation: Operation) -> Route:
    """The route the caller named, if it is for that; else it has no name in metrics."""
    name, record.route = record.route, "unknown"
    route = registry.route(name)
    if route.operation != operation:
        raise RouteNotFound(f"the model {name!r} does not do {operation}", param="model")
    check_route(caller, name)
    record.route = name
    return route


def _importance(route: Route) -> Importance:
    return Importance.SHEDDABLE if route.sheddable else Importance.CRITICAL


def _told(head: list[Any]) -> tuple[Headroom | None, float | None]:
    """What a head says of the capacity behind it, and how many tokens were written."""
    headroom = usage = None
    for item in head:
        headroom = headroom or getattr(item, "headroom", None)
        usage = usage or getattr(item, "usage", None)
    return headroom, float(usage.output_tokens) if usage and usage.output_tokens else None


async def within(awaitable: Awaitable[T], timeout_s: float) -> T:
    """What is awaited, or UpstreamTimeout."""
    try:
        with Deadline(timeout_s) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired:
            raise
        raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
