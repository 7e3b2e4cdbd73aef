"""The use case "call a model": admit, plan, attempt, commit, settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from hamlet.core import EmbeddingRequest, EmbeddingResponse
from hamlet.core.errors import (
    HamletError,
    NoDeployment,
    ProviderError,
    RequestError,
    RouteNotFound,
    Unsupported,
    UpstreamProtocol,
    UpstreamTimeout,
)
from hamlet.fleet import Health, order
from hamlet.gateway.admission import Admission, check_route
from hamlet.gateway.attempt import pursue
from hamlet.gateway.call import Call, Caller
from hamlet.gateway.observer import Attempt, Observers, Operation, Record
from hamlet.gateway.prepare import prepare_chat, prepare_native, speaks
from hamlet.gateway.stream import ChatStream, Meter, limits, open_stream
from hamlet.registry import Registry, RegistryHolder
from hamlet.registry.model import Deployment, Route

T = TypeVar("T")


class Gateway:
    """Calls models by route name. Knows no HTTP framework and no vendor."""

    def __init__(
        self,
        registries: RegistryHolder,
        admission: Admission,
        observers: Observers,
        health: Health | None = None,
    ) -> None:
        self._registries = registries
        self.admission = admission
        self._observers = observers
        self._health = health or Health()

    async def chat(self, call: Call, caller: Caller) -> ChatStream:
        """Answer a chat call with a committed stream, which the caller must `aclose()`.

        Raises RequestError before any upstream is asked, else the last ProviderError.
        """
        record = self._record("chat", call.model, caller, call.request_id)
        record.stream, record.dialect = call.stream, call.dialect
        stack = ExitStack()
        try:
            with self._ends(record):
                route = self._enter(stack, record, caller, "chat")
                plan = self._plan(route, call)
                policy = route.policy
                total_s = min(policy.total_s, call.total_s or policy.total_s)
                remaining = _countdown(total_s)

                async def once(deployment: Deployment) -> ChatStream:
                    return await self._open(call, deployment, route, record, stack, remaining)

                return await pursue(plan, once, policy, remaining)
        except BaseException:
            stack.close()
            raise

    async def embed(
        self, request: EmbeddingRequest, caller: Caller, request_id: str = ""
    ) -> EmbeddingResponse:
        """Embed texts; errors as in `chat`."""
        record = self._record("embeddings", request.model, caller, request_id)
        with ExitStack() as stack, self._ends(record):
            route = self._enter(stack, record, caller, "embeddings")
            remaining = _countdown(route.policy.total_s)

            async def once(deployment: Deployment) -> EmbeddingResponse:
                with self._attempting(record, deployment):
                    sent = replace(request, model=deployment.model)
                    answer: Awaitable[EmbeddingResponse] = deployment.provider.instance.embed(sent)
                    return await _within(answer, remaining())

            response = await pursue(self._usable(route), once, route.policy, remaining)
            record.usage = response.usage
            self._end(record)
            return response

    # -- the steps

    def _record(self, operation: Operation, route: str, caller: Caller, request_id: str) -> Record:
        return Record(operation, route, caller.name, request_id, False, time.monotonic())

    def _enter(
        self, stack: ExitStack, record: Record, caller: Caller, operation: Operation
    ) -> Route:
        registry: Registry = stack.enter_context(self._registries.lease())
        route_name, record.route = record.route, "unknown"
        route = registry.route(route_name)
        if route.operation != operation:
            raise RouteNotFound(f"the model {route_name!r} does not do {operation}", param="model")
        check_route(caller, route_name)
        record.route = route_name
        stack.enter_context(self.admission.inside(caller))
        record.admitted = True
        self._observers.on_start(record)
        return route

    def _plan(self, route: Route, call: Call) -> list[Deployment]:
        able = [tuple(d for d in tier if call.features <= d.card.features) for tier in route.tiers]
        if not any(able):
            missing = _missing(route, call)
            raise Unsupported(f"the model {route.name!r} does not support: {missing}")
        return self._usable(replace(route, tiers=tuple(able)))

    def _usable(self, route: Route) -> list[Deployment]:
        tiers = [[d for d in tier if self._health.usable(d)] for tier in route.tiers]
        plan = order(tiers)
        if not plan:
            waits = [self._health.back_in(d) for tier in route.tiers for d in tier]
            raise NoDeployment(
                f"every deployment of {route.name!r} is cooling down or full",
                retry_after=max(min(waits), 0.05),
            )
        return plan

    async def _open(
        self,
        call: Call,
        deployment: Deployment,
        route: Route,
        record: Record,
        stack: ExitStack,
        remaining: Callable[[], float],
    ) -> ChatStream:
        policy = route.policy
        native = speaks(deployment, call)
        prepare = prepare_native if native else prepare_chat
        body, warnings = prepare(call, deployment, policy)
        slot = ExitStack()
        with self._attempting(record, deployment, slot):
            instance = deployment.provider.instance
            source: AsyncGenerator[Any, None]
            source = instance.native(body) if native else instance.chat(body)
            left = remaining()
            timeout_s = min(policy.first_token_s, left) if call.stream else left
            held = limits(policy, left) if call.stream and policy.hold_back else None
            whole = held is not None or not call.stream
            head = await open_stream(source, whole=whole, timeout_s=timeout_s, held=held)
        record.native, record.warnings = native, warnings
        stack.push(slot)

        def settle(meter: Meter) -> None:
            self._settle(record, meter, deployment, stack)

        return ChatStream(
            head,
            source,
            native=native,
            warnings=warnings,
            idle_s=policy.idle_s,
            total_s=remaining(),
            settle=settle,
            min_tokens_per_s=policy.min_tokens_per_s,
        )

    def _settle(
        self, record: Record, meter: Meter, deployment: Deployment, stack: ExitStack
    ) -> None:
        stack.close()
        record.usage = meter.usage or record.usage
        record.finish = meter.finish
        record.error = meter.error
        record.first_token_s = meter.first_token_at - record.started
        if meter.error is not None:
            record.outcome = "error"
            self._health.failed(deployment, meter.error)
        elif not meter.whole:
            record.outcome = "cancelled"
        self._end(record)

    def _end(self, record: Record) -> None:
        record.duration_s = time.monotonic() - record.started
        self._observers.on_end(record)

    @contextmanager
    def _ends(self, record: Record) -> Iterator[None]:
        """Settle a call that ends without an answer."""
        try:
            yield
        except RequestError as error:
            record.outcome, record.error = "rejected", error
            self._end(record)
            raise
        except HamletError as error:
            record.outcome, record.error = "error", error
            self._end(record)
            raise
        except BaseException:
            record.outcome = "cancelled"
            self._end(record)
            raise

    @contextmanager
    def _attempting(
        self, record: Record, deployment: Deployment, keep: ExitStack | None = None
    ) -> Iterator[None]:
        """One attempt: its slot, its verdict, and foreign exceptions turned into our family.

        On success the slot moves to `keep`, if given; otherwise it is freed at the end.
        """
        record.attempts += 1
        record.deployment = deployment
        attempt = Attempt(deployment, time.monotonic())
        self._health.acquire(deployment)
        try:
            yield
        except ProviderError as error:
            attempt.error = error
        except Exception as error:
            attempt.error = UpstreamProtocol(f"the adapter failed: {type(error).__name__}")
            attempt.error.__cause__ = error
        except BaseException:
            attempt.cancelled = True
            raise
        finally:
            self._judge(record, attempt)
            if keep is None or attempt.error or attempt.cancelled:
                self._health.release(deployment)
            else:
                keep.callback(self._health.release, deployment)
        if attempt.error:
            raise attempt.error

    def _judge(self, record: Record, attempt: Attempt) -> None:
        attempt.duration_s = time.monotonic() - attempt.started
        if attempt.error is not None:
            attempt.error.deployment = attempt.deployment.id
            self._health.failed(attempt.deployment, attempt.error)
        elif not attempt.cancelled:
            self._health.succeeded(attempt.deployment)
        self._observers.on_attempt(record, attempt)


def _countdown(total_s: float) -> Callable[[], float]:
    end = time.monotonic() + total_s
    return lambda: max(0.0, end - time.monotonic())


async def _within(awaitable: Awaitable[T], timeout_s: float) -> T:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired():
            raise
        raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None


def _missing(route: Route, call: Call) -> str:
    lacks = [
        feature
        for feature in sorted(call.features)
        if not any(feature in d.card.features for tier in route.tiers for d in tier)
    ]
    return ", ".join(lacks or sorted(call.features))
