"""A gateway over scripted providers, with a recording observer and log."""

from collections.abc import Sequence
from typing import Any

from hamlet.config import Policy, loads
from hamlet.core import ChatRequest, ModelCard
from hamlet.gateway import (
    Admission,
    Attempt,
    Call,
    Caller,
    CallRecord,
    ChatStream,
    Gateway,
    Observers,
)
from hamlet.registry import Deployment, ProviderHandle, Registry, RegistryHolder, Route
from hamlet.routing import LoadBalancer
from hamlet.spi import operations
from hamlet.testing.cases import chat_request
from hamlet.testing.support import SilentLog

CONFIG = loads("providers: {p: {kind: k}}\nroutes: {r: {deployments: [{provider: p, model: m}]}}")


class RecordingObserver:
    """Keeps every record and attempt that it observes."""

    def __init__(self) -> None:
        self.started: list[CallRecord] = []
        self.attempts: list[Attempt] = []
        self.ended: list[CallRecord] = []

    def on_start(self, record: CallRecord) -> None:
        self.started.append(record)

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def on_end(self, record: CallRecord) -> None:
        self.ended.append(record)


class RecordingLog(SilentLog):
    """Keeps the names and fields of error events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:  # type: ignore[override]
        self.events.append((event, fields))


def deployment(provider: Any, name: str = "a", **more: Any) -> Deployment:
    dialect = getattr(provider, "dialect", None)
    handle = ProviderHandle(name, "scripted", provider, operations(provider), dialect)
    return Deployment(f"{name}/m", handle, "m", more.pop("card", ModelCard()), **more)


class GatewayHarness:
    """A gateway with one route, `r`, and one for embeddings, `e`, over the same tiers."""

    def __init__(
        self,
        *tiers: Sequence[Deployment],
        policy: Policy | None = None,
        max_in_flight: int = 10,
        observers: Sequence[Any] = (),
        sheddable: bool = False,
        load_balancer: LoadBalancer | None = None,
    ) -> None:
        levels = tuple(tuple(tier) for tier in tiers)
        self.route = Route("r", "chat", levels, policy or Policy(), sheddable=sheddable)
        routes = {
            "r": self.route,
            "e": Route("e", "embeddings", levels, policy or Policy()),
        }
        self.observer, self.log, self.load_balancer = (
            RecordingObserver(),
            RecordingLog(),
            load_balancer or LoadBalancer(),
        )
        self.admission = Admission(max_in_flight)
        all_observers = Observers([*observers, self.observer], self.log)
        holder = RegistryHolder(Registry(CONFIG.config, {}, routes))
        self.gateway = Gateway(holder, self.admission, all_observers, self.load_balancer)

    async def open_stream(
        self, request: ChatRequest | None = None, caller: Caller | None = None, **call: Any
    ) -> ChatStream:
        built = Call.from_request(request or chat_request("hi", "r", stream=True), "req_1")
        for name, value in call.items():
            setattr(built, name, value)
        return await self.gateway.chat(built, caller or Caller())

    async def read_text(self, request: ChatRequest | None = None, **call: Any) -> str:
        stream = await self.open_stream(request, **call)
        try:
            return "".join([getattr(event, "text", "") async for event in stream])
        finally:
            await stream.aclose()


def fast_policy(**more: Any) -> Policy:
    """A policy with a short backoff and short timeouts."""
    return Policy(**{"backoff_base_s": 0.001, "first_token_s": 5.0, "idle_s": 5.0, **more})
