"""The use case "call a model"."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from hamlet.core import EmbeddingRequest, EmbeddingResponse, NativeRequest, Usage
from hamlet.core.errors import (
    HamletError,
    RequestError,
    UpstreamTimeout,
)
from hamlet.core.trace import current_trace_id
from hamlet.gateway.admission import Admission, Priority
from hamlet.gateway.attempt import AttemptScope, CommittedAttempt
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.call_context import CallContext
from hamlet.gateway.hedge import run_hedged
from hamlet.gateway.observers import CallRecord, Observers, Operation
from hamlet.gateway.paced_stream import PacedStream
from hamlet.gateway.parameters import can_use_native, prepare_chat, prepare_native
from hamlet.gateway.retry import call_with_retries
from hamlet.gateway.retry_state import RetryState
from hamlet.gateway.selector import Selector
from hamlet.gateway.stream import ChatStream, StreamStats, open_stream, stream_timeouts
from hamlet.registry import RegistryHolder
from hamlet.registry.model import Route
from hamlet.routing import CostEstimate, LoadBalancer, RouteState, Selection
from hamlet.spi import Deadline

T = TypeVar("T")


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

        Raises RequestError before any upstream is called, else the last ProviderError.
        """
        context = self._start_call("chat", call.model, caller, call.request_id)
        context.prompt_bytes = call.prompt_bytes
        record = context.record
        record.stream, record.dialect = call.stream, call.dialect
        try:
            # Admit: the route that the caller may use, a slot for the call, and its deadline.
            route = context.resolve_route("chat")
            total_s = min(route.policy.total_s, call.timeout_s or route.policy.total_s)
            await self._admit(context, route, total_s)

            # Route: what is known of the route's deployments. A response that is held back until
            # it is complete is measured like one that is not streamed.
            visible = call.stream and not route.policy.hold_back
            route_state = self.load_balancer.route_state(route, stream=visible)
            context.bind_route(route_state)

            # Estimate: the tokens to reserve on whichever deployment is called.
            estimate = context.cost_estimate = estimate_cost(call, route_state, stream=visible)

            # Retry { select a deployment, attempt the call there, commit to its response }.
            selector = Selector(self.load_balancer, route_state, estimate, context.remaining_s)
            retry_state = RetryState(selector)
            committed = await call_with_retries(
                retry_state, partial(self._attempt_or_hedge, context, call, retry_state)
            )
        except BaseException as error:
            self._settle_failure(context, error)
            raise
        record.native, record.warnings = committed.native, committed.warnings

        # Settle: as the caller closes the stream.
        return ChatStream(
            committed.head,
            committed.paced_stream,
            native=committed.native,
            warnings=committed.warnings,
            on_settle=partial(self._settle, context, committed.scope),
            clock=self._clock,
        )

    async def embed(
        self, request: EmbeddingRequest, caller: Caller, request_id: str = ""
    ) -> EmbeddingResponse:
        """Embed texts, by the same steps as `chat`; raises the same errors."""
        context = self._start_call("embeddings", request.model, caller, request_id)
        try:
            route = context.resolve_route("embeddings")
            await self._admit(context, route, route.policy.total_s)

            route_state = self.load_balancer.route_state(route, stream=False)
            context.bind_route(route_state)

            prompt_bytes = sum(len(text.encode("utf-8", "replace")) for text in request.inputs)
            input_tokens = route_state.estimator.estimate_input_tokens(prompt_bytes)
            estimate = context.cost_estimate = CostEstimate(input_tokens, stream=False)

            selector = Selector(self.load_balancer, route_state, estimate, context.remaining_s)
            response = await call_with_retries(
                RetryState(selector), partial(self._attempt_embedding, context, request, selector)
            )
        except BaseException as error:
            self._settle_failure(context, error)
            raise
        context.record.usage = response.usage
        self._end_call(context)
        return response

    # -- admit

    def _start_call(
        self, operation: Operation, route: str, caller: Caller, request_id: str
    ) -> CallContext:
        record = CallRecord(operation, route, caller.name, request_id, False, self._clock())
        record.trace_id = current_trace_id()
        return CallContext(record, caller, self._registries.acquire(), self.admission, self._clock)

    async def _admit(self, context: CallContext, route: Route, total_s: float) -> None:
        """Wait for a slot, and start the deadline of `total_s` seconds."""
        priority = Priority.SHEDDABLE if route.sheddable else Priority.CRITICAL
        await self.admission.acquire_slot(context.caller, priority, total_s)
        record = context.record
        record.queue_s = self._clock() - record.started_at
        context.has_slot = record.admitted = True
        self._observers.on_start(record)
        context.deadline = self._clock() + total_s

    # -- attempt and commit

    def _attempt_or_hedge(
        self, context: CallContext, call: Call, retry_state: RetryState, selection: Selection
    ) -> Awaitable[CommittedAttempt]:
        """One attempt; two where the route is hedged or the deployment is only probed."""
        selector, delay_s = retry_state.selector, retry_state.hedge_delay_s(selection)
        primary = self._attempt(context, call, selector, selection)
        if delay_s is None:
            return primary

        def start_backup() -> Awaitable[CommittedAttempt] | None:
            backup = retry_state.select_backup(selection)
            if backup is None:
                return None
            return self._attempt(context, call, selector, backup, is_hedge=True)

        return run_hedged(
            primary,
            start_backup,
            delay_s,
            CommittedAttempt.discard,
            backup_on_failure=selection.is_probe,
        )

    async def _attempt(
        self,
        context: CallContext,
        call: Call,
        selector: Selector,
        selection: Selection,
        *,
        is_hedge: bool = False,
    ) -> CommittedAttempt:
        """One attempt, up to the commit point of the response. Raises ProviderError."""
        deployment, policy = selection.candidate.deployment, context.route_state.route.policy
        native = can_use_native(deployment, call)
        prepare = prepare_native if native else prepare_chat
        body, warnings = prepare(call, deployment, policy)
        scope = AttemptScope(
            self.load_balancer,
            self._observers,
            context.record,
            selection,
            context.cost_estimate,
            is_hedge=is_hedge,
        )
        with scope:
            timeout_s = selector.attempt_timeout_s(selection)
            head, source = await self._open_upstream(context, call, selection, body, timeout_s)
        scope.commit(head, is_streamed=call.stream)
        paced_stream = None
        if source is not None:
            paced_stream = PacedStream(source, stream_timeouts(policy, context.remaining_s()))
        return CommittedAttempt(scope, head, paced_stream, native, warnings)

    async def _open_upstream(
        self, context: CallContext, call: Call, selection: Selection, body: Any, timeout_s: float
    ) -> tuple[list[Any], AsyncGenerator[Any, None] | None]:
        """The items up to the commit point, and the source of the others if there are any."""
        provider, native = selection.candidate.deployment.provider, type(body) is NativeRequest
        if native and not call.stream and "native_whole" in provider.operations:
            return [await with_timeout(provider.instance.native_whole(body), timeout_s)], None
        policy, hold_back_timeouts = context.route_state.route.policy, None
        if call.stream and policy.hold_back:
            hold_back_timeouts = stream_timeouts(policy, context.remaining_s())
            timeout_s = min(timeout_s, policy.first_token_s)
        source: AsyncGenerator[Any, None]
        source = provider.instance.native(body) if native else provider.instance.chat(body)
        head, ended = await open_stream(
            source,
            read_to_end=not context.cost_estimate.stream,
            timeout_s=timeout_s,
            hold_back_timeouts=hold_back_timeouts,
        )
        return head, None if ended else source

    async def _attempt_embedding(
        self,
        context: CallContext,
        request: EmbeddingRequest,
        selector: Selector,
        selection: Selection,
    ) -> EmbeddingResponse:
        deployment = selection.deployment
        with self.attempt_scope(context.record, selection, context.cost_estimate) as attempt:
            pending_response: Awaitable[EmbeddingResponse] = deployment.provider.instance.embed(
                replace(request, model=deployment.model)
            )
            response = await with_timeout(pending_response, selector.attempt_timeout_s(selection))
        attempt.settle(response.usage)
        return response

    def attempt_scope(
        self, record: CallRecord, selection: Selection, cost_estimate: CostEstimate
    ) -> AttemptScope:
        """A scope that reports to the gateway's load balancer and observers."""
        return AttemptScope(self.load_balancer, self._observers, record, selection, cost_estimate)

    # -- settle

    def _settle(self, context: CallContext, scope: AttemptScope, stats: StreamStats) -> None:
        """End a call with a response, which was read to its end, has failed or was closed early."""
        scope.settle(stats.usage, stats.event_count, stats.error)
        record = context.record
        record.deployment, record.tier = scope.attempt.deployment, scope.attempt.tier
        record.usage = stats.usage or record.usage
        record.finish_reason, record.error = stats.finish_reason, stats.error
        record.first_token_s = stats.first_token_at - record.started_at
        if stats.error is not None:
            record.outcome = "error"
        elif stats.is_complete:
            context.route_state.estimator.learn(context.prompt_bytes, record.usage)
        else:
            record.outcome = "cancelled"
            input_tokens = round(context.cost_estimate.input_tokens)
            record.usage = stats.usage or Usage(input_tokens, stats.event_count, estimated=True)
        self._end_call(context)

    def _settle_failure(self, context: CallContext, error: BaseException) -> None:
        """End a call without a response."""
        record = context.record
        if isinstance(error, HamletError):
            record.outcome = "rejected" if isinstance(error, RequestError) else "error"
            record.error = error
        else:
            record.outcome = "cancelled"
        self._end_call(context)

    def _end_call(self, context: CallContext) -> None:
        context.close()
        record = context.record
        record.duration_s = self._clock() - record.started_at
        self._observers.on_end(record)


def estimate_cost(call: Call, route_state: RouteState, *, stream: bool) -> CostEstimate:
    """The tokens that the call will cost a deployment, as far as they can be known beforehand."""
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
    """`max_tokens` as it is sent to the first deployment; most routes send all of them the same."""
    first = route_state.route.tiers[0][0]
    requested = call.params.max_tokens or first.defaults.max_tokens
    cap = first.caps.max_tokens
    return min(requested, cap) if requested and cap else requested or cap


async def with_timeout(awaitable: Awaitable[T], timeout_s: float) -> T:
    """The result of `awaitable`. Raises UpstreamTimeout after `timeout_s` seconds."""
    try:
        with Deadline(timeout_s) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired:
            raise
        raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
