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
from hamlet.core.trace import current_trace_id
from hamlet.gateway.admission import Admission, Priority, require_route_access
from hamlet.gateway.attempt import Attempting, Held
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.hedge import run_hedged
from hamlet.gateway.hunt import Hunt
from hamlet.gateway.observers import CallRecord, Observers, Operation
from hamlet.gateway.paced_stream import PacedStream
from hamlet.gateway.parameters import can_use_native, prepare_chat, prepare_native
from hamlet.gateway.retry import call_with_retries
from hamlet.gateway.stream import ChatStream, StreamStats, open_stream, stream_timeouts
from hamlet.registry import Registry, RegistryHolder
from hamlet.registry.model import Route
from hamlet.routing import CostEstimate, LoadBalancer, Reservation, RouteState, Selection
from hamlet.routing.cost_estimate import TokenEstimator
from hamlet.spi import Deadline

T = TypeVar("T")


class _Pursuit(Struct):
    """One chat call on its way: what all its attempts share."""

    call: Call
    route_state: RouteState
    cost_estimate: CostEstimate
    record: CallRecord
    held: Held
    remaining_s: Callable[[], float]
    hunt: Hunt


class Gateway:
    """Calls models by route name. Knows no HTTP framework and no vendor."""

    def __init__(
        self,
        registries: RegistryHolder,
        admission: Admission,
        observers: Observers,
        load_balancer: LoadBalancer | None = None,
    ) -> None:
        self._registries = registries
        self.admission = admission
        self._observers = observers
        self.load_balancer = load_balancer or LoadBalancer()
        self._clock = self.load_balancer.clock

    async def chat(self, call: Call, caller: Caller) -> ChatStream:
        """Answer a chat call with a committed stream, which the caller must `aclose()`.

        Raises RequestError before any upstream is asked, else the last ProviderError.
        """
        record = self._new_record("chat", call.model, caller, call.request_id)
        record.stream, record.dialect = call.stream, call.dialect
        held = Held(lease := self._registries.acquire(), self.admission, caller)
        try:
            route = _resolve_route(lease.registry, record, caller, "chat")
            total_s = min(route.policy.total_s, call.timeout_s or route.policy.total_s)
            await self.admission.acquire_slot(caller, _route_priority(route), total_s)
            self._record_admission(held, record)
            pursuit = self._new_call_context(
                call, route, record, held, self._start_deadline(total_s)
            )
            stream = await call_with_retries(
                pursuit.hunt, partial(self._attempt_with_hedge, pursuit)
            )
        except BaseException as error:
            self._finish_with_error(record, error)
            held.close()
            raise
        record.native, record.warnings = stream.native, stream.warnings
        return stream

    async def embed(
        self, request: EmbeddingRequest, caller: Caller, request_id: str = ""
    ) -> EmbeddingResponse:
        """Embed texts; errors as in `chat`."""
        record = self._new_record("embeddings", request.model, caller, request_id)
        held = Held(lease := self._registries.acquire(), self.admission, caller)
        try:
            route = _resolve_route(lease.registry, record, caller, "embeddings")
            await self.admission.acquire_slot(caller, _route_priority(route), route.policy.total_s)
            self._record_admission(held, record)
            remaining_s = self._start_deadline(route.policy.total_s)
            route_state = held.bind_route(self.load_balancer.route_state(route, stream=False))
            prompt_bytes = sum(len(text.encode("utf-8", "replace")) for text in request.inputs)
            cost_estimate = CostEstimate(
                route_state.estimator.estimate_input_tokens(prompt_bytes), stream=False
            )
            hunt = Hunt(self.load_balancer, route_state, cost_estimate, remaining_s)

            async def attempt_embedding(selection: Selection) -> EmbeddingResponse:
                deployment = selection.deployment
                reservation = self.load_balancer.reserve(selection, cost_estimate)
                with self.attempt_scope(record, reservation) as attempt:
                    sent = replace(request, model=deployment.model)
                    pending_response: Awaitable[EmbeddingResponse] = (
                        deployment.provider.instance.embed(sent)
                    )
                    response = await with_timeout(
                        pending_response, hunt.first_token_timeout_s(selection)
                    )
                attempt.record_success()
                self.load_balancer.settle(reservation, response.usage)
                return response

            response = await call_with_retries(hunt, attempt_embedding)
            record.usage = response.usage
        except BaseException as error:
            self._finish_with_error(record, error)
            raise
        else:
            self._finish_record(record)
            return response
        finally:
            held.close()

    # -- the steps

    def _new_record(
        self, operation: Operation, route: str, caller: Caller, request_id: str
    ) -> CallRecord:
        record = CallRecord(operation, route, caller.name, request_id, False, self._clock())
        record.trace_id = current_trace_id()
        return record

    def _record_admission(self, held: Held, record: CallRecord) -> None:
        record.queue_s = self._clock() - record.started_at
        held.has_slot = record.admitted = True
        self._observers.on_start(record)

    def _new_call_context(
        self,
        call: Call,
        route: Route,
        record: CallRecord,
        held: Held,
        remaining_s: Callable[[], float],
    ) -> _Pursuit:
        # What is held back until it is whole is judged like an answer in one piece.
        visible = call.stream and not route.policy.hold_back
        route_state = held.bind_route(self.load_balancer.route_state(route, stream=visible))
        cost_estimate = estimate_cost(call, route_state, stream=visible)
        hunt = Hunt(self.load_balancer, route_state, cost_estimate, remaining_s)
        return _Pursuit(call, route_state, cost_estimate, record, held, remaining_s, hunt)

    def _attempt_with_hedge(self, pursuit: _Pursuit, selection: Selection) -> Awaitable[ChatStream]:
        """One attempt, with another beside it where the route or a probe wants that."""
        after_s = pursuit.hunt.hedge_delay_s(selection)
        if after_s is None:
            return self._attempt_once(pursuit, selection)

        def start_backup() -> Awaitable[ChatStream] | None:
            backup_selection = pursuit.hunt.select_backup(selection)
            return (
                self._attempt_once(pursuit, backup_selection, is_hedge=True)
                if backup_selection is not None
                else None
            )

        return run_hedged(
            self._attempt_once(pursuit, selection),
            start_backup,
            after_s,
            ChatStream.discard,
            backup_on_failure=selection.is_probe,
        )

    async def _attempt_once(
        self, pursuit: _Pursuit, selection: Selection, *, is_hedge: bool = False
    ) -> ChatStream:
        call, record, policy = pursuit.call, pursuit.record, pursuit.route_state.route.policy
        deployment = selection.candidate.deployment
        native = can_use_native(deployment, call)
        prepare = prepare_native if native else prepare_chat
        body, warnings = prepare(call, deployment, policy)
        reservation = self.load_balancer.reserve(selection, pursuit.cost_estimate)
        with self.attempt_scope(record, reservation, is_hedge=is_hedge) as attempt:
            head, source = await self._open_upstream(pursuit, selection, native, body)
        reservation.headroom, written = _headroom_and_tokens(head)
        # A whole answer is told by its length, which its head knows.
        record_success = partial(
            attempt.record_success, None if pursuit.cost_estimate.stream else written
        )
        if call.stream:
            # Whoever reads a stream may take minutes, which are not the deployment's.
            record_success()
        deferred_success = None if call.stream else record_success
        paced_stream = (
            PacedStream(source, stream_timeouts(policy, pursuit.remaining_s()))
            if source is not None
            else None
        )
        # Of the call only this: a stream must keep neither its prompt nor its search.
        estimator = pursuit.route_state.estimator
        settle = partial(
            self._settle_stream,
            record,
            pursuit.held,
            reservation,
            estimator,
            call.prompt_bytes,
            deferred_success,
        )
        return ChatStream(
            head,
            paced_stream,
            native=native,
            warnings=warnings,
            on_settle=settle,
            clock=self._clock,
        )

    async def _open_upstream(
        self, pursuit: _Pursuit, selection: Selection, native: bool, body: Any
    ) -> tuple[list[Any], AsyncGenerator[Any, None] | None]:
        """What comes up to the commit point, and where the rest comes from, if that is not all."""
        provider, streamed = selection.candidate.deployment.provider, pursuit.call.stream
        timeout_s, hold_back_timeouts = pursuit.hunt.first_token_timeout_s(selection), None
        if native and not streamed and "native_whole" in provider.operations:
            return [await with_timeout(provider.instance.native_whole(body), timeout_s)], None
        policy = pursuit.route_state.route.policy
        if streamed and policy.hold_back:
            hold_back_timeouts = stream_timeouts(policy, pursuit.remaining_s())
            timeout_s = min(timeout_s, policy.first_token_s)
        source: AsyncGenerator[Any, None]
        source = provider.instance.native(body) if native else provider.instance.chat(body)
        read_to_end = not pursuit.cost_estimate.stream
        head, ended = await open_stream(
            source,
            read_to_end=read_to_end,
            timeout_s=timeout_s,
            hold_back_timeouts=hold_back_timeouts,
        )
        return head, None if ended else source

    def _settle_stream(
        self,
        record: CallRecord,
        held: Held,
        reservation: Reservation,
        estimator: TokenEstimator,
        prompt_bytes: int,
        deferred_success: Callable[[], None] | None,
        stats: StreamStats,
    ) -> None:
        """Keep the books of an answer, with those of its attempt if those were left for now."""
        if deferred_success is not None:
            deferred_success()
        if stats.is_discarded:
            return self.load_balancer.settle(reservation, stats.usage, stats.event_count)
        record.deployment, record.tier = reservation.candidate.deployment, reservation.tier
        held.close()
        record.usage = stats.usage or record.usage
        record.finish_reason = stats.finish_reason
        record.error = stats.error
        record.first_token_s = stats.first_token_at - record.started_at
        if stats.error is not None:
            record.outcome = "error"
            self.load_balancer.record_failure(reservation, stats.error)
        elif not stats.is_complete:
            record.outcome = "cancelled"
            input_tokens = round(reservation.estimate.input_tokens)
            record.usage = stats.usage or Usage(input_tokens, stats.event_count, estimated=True)
        else:
            estimator.learn(prompt_bytes, record.usage)
        self.load_balancer.settle(reservation, stats.usage, stats.event_count)
        return self._finish_record(record)

    def _finish_record(self, record: CallRecord) -> None:
        record.duration_s = self._clock() - record.started_at
        self._observers.on_end(record)

    def _finish_with_error(self, record: CallRecord, error: BaseException) -> None:
        """A call ends without an answer."""
        if isinstance(error, HamletError):
            record.outcome = "rejected" if isinstance(error, RequestError) else "error"
            record.error = error
        else:
            record.outcome = "cancelled"
        self._finish_record(record)

    def attempt_scope(
        self, record: CallRecord, reservation: Reservation, *, is_hedge: bool = False
    ) -> Attempting:
        """The bracket around one attempt."""
        return Attempting(
            self.load_balancer, self._observers, record, reservation, is_hedge=is_hedge
        )

    def _start_deadline(self, total_s: float) -> Callable[[], float]:
        clock = self._clock
        end = clock() + total_s

        def remaining_s() -> float:
            left = end - clock()
            return left if left > 0 else 0.0

        return remaining_s


def estimate_cost(call: Call, route_state: RouteState, *, stream: bool) -> CostEstimate:
    """What the call asks of a deployment, as far as that can be known beforehand."""
    estimator = route_state.estimator
    reserved, likely = estimator.estimate_output_tokens(_max_output_tokens(call, route_state))
    per_byte, prefixes = estimator.estimate_input_tokens(1), call.hash_prefixes()
    return CostEstimate(
        call.prompt_bytes * per_byte,
        reserved,
        likely,
        stream,
        route_state.route.sheddable,
        call.features,
        tuple([(key, size * per_byte) for key, size in prefixes]) if prefixes else (),
    )


def _max_output_tokens(call: Call, route_state: RouteState) -> int | None:
    """`max_tokens` as it will be sent: the same for all deployments of most routes."""
    first = route_state.route.tiers[0][0]
    requested = call.params.max_tokens or first.defaults.max_tokens
    cap = first.caps.max_tokens
    return min(requested, cap) if requested and cap else requested or cap


def _resolve_route(
    registry: Registry, record: CallRecord, caller: Caller, operation: Operation
) -> Route:
    """The route the caller named, if it is for that; else it has no name in metrics."""
    name, record.route = record.route, "unknown"
    route = registry.route(name)
    if route.operation != operation:
        raise RouteNotFound(f"the model {name!r} does not do {operation}", param="model")
    require_route_access(caller, name)
    record.route = name
    return route


def _route_priority(route: Route) -> Priority:
    return Priority.SHEDDABLE if route.sheddable else Priority.CRITICAL


def _headroom_and_tokens(head: list[Any]) -> tuple[Headroom | None, float | None]:
    """What a head says of the capacity behind it, and how many tokens were written."""
    headroom = usage = None
    for item in head:
        headroom = headroom or getattr(item, "headroom", None)
        usage = usage or getattr(item, "usage", None)
    return headroom, float(usage.output_tokens) if usage and usage.output_tokens else None


async def with_timeout(awaitable: Awaitable[T], timeout_s: float) -> T:
    """What is awaited, or UpstreamTimeout."""
    try:
        with Deadline(timeout_s) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired:
            raise
        raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
