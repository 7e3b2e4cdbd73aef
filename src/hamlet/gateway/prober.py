"""Active health checks: calls idle and tripped deployments, to learn early how they are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

from hamlet.config import Policy
from hamlet.core import (
    ChatParams,
    ChatRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Finished,
    Message,
    Text,
    Usage,
)
from hamlet.core.errors import ProviderError, RateLimited
from hamlet.gateway.call import Call
from hamlet.gateway.gateway import Gateway, with_timeout
from hamlet.gateway.observers import CallRecord
from hamlet.gateway.parameters import prepare_chat
from hamlet.gateway.stream import open_stream
from hamlet.registry import Deployment, Registry, RegistryHolder, ReservedThroughput, Route
from hamlet.routing import CostEstimate, LoadBalancer, Selection

_INTERVAL_S = 1.0
_PROBE_COST = CostEstimate(1.0, 1.0, 1.0)
_ProbeTarget = tuple[Route, Selection]


class Prober:
    """Probes idle deployments and those whose circuit breaker may close: one a second in all.

    A probe is a real attempt: it reserves capacity, and its outcome changes circuit breaker,
    cooldown and latency. Observers see it as an attempt of the operation "probe", because it costs
    tokens, but not as a call, because no caller has made it.
    """

    def __init__(
        self,
        registries: RegistryHolder,
        gateway: Gateway,
        process_count: Callable[[], int] = lambda: 1,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        """`process_count` returns how many processes share one probe every `interval_s` seconds."""
        self._registries = registries
        self._gateway = gateway
        self._load_balancer: LoadBalancer = gateway.load_balancer
        self._process_count = process_count
        self._interval_s = interval_s
        self._skipped_until: dict[str, float] = {}
        self._enabled = False
        self._task: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def is_running(self) -> bool:
        """Whether it was started and the registry has deployments to probe."""
        return self._task is not None

    async def start(self) -> None:
        """Start, if the registry in use has deployments to probe."""
        self._enabled = True
        await self.refresh()

    async def refresh(self) -> None:
        """Start or stop by the registry in use; call it when the registry was replaced."""
        wanted = self._enabled and any(True for _ in self._probe_targets(self._registries.current))
        if wanted and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif not wanted:
            await self._stop()

    async def aclose(self) -> None:
        """Stop, and cancel the probes in flight."""
        self._enabled = False
        await self._stop()

    async def _stop(self) -> None:
        tasks = [*self._probes, *([self._task] if self._task else [])]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._process_count() * self._interval_s * random.uniform(0.9, 1.1))
            if target := self._next_target():
                task = asyncio.create_task(self._probe(*target))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)

    # -- which deployment

    def _probe_targets(self, registry: Registry) -> Iterator[_ProbeTarget]:
        """The deployments that the configuration wants probed."""
        policy = registry.config.fleet.probe
        if policy == "off":
            return
        for route in registry.routes.values():
            route_state = self._load_balancer.route_state(route, stream=route.operation == "chat")
            for i, tier in enumerate(route_state.tiers):
                for candidate in tier.candidates:
                    capacity, breaker = candidate.deployment.capacity, candidate.state.breaker
                    if policy == "all" or isinstance(capacity, ReservedThroughput):
                        yield route, Selection(candidate, i, breaker.is_tripped)

    def _next_target(self) -> _ProbeTarget | None:
        """A deployment whose circuit breaker may close, else the one that is idle the longest."""
        registry = self._registries.current
        idle_s = registry.config.fleet.probe_idle_s
        due = [
            target for target in self._probe_targets(registry) if self._is_due(target[1], idle_s)
        ]
        return min(
            due,
            key=lambda target: (not target[1].is_probe, target[1].candidate.state.last_used_at),
            default=None,
        )

    def _is_due(self, selection: Selection, idle_s: float) -> bool:
        now, state = self._load_balancer.clock(), selection.candidate.state
        id_ = state.deployment_id
        if state.in_flight or now < max(state.cooldown_until, self._skipped_until.get(id_, 0.0)):
            return False
        if selection.is_probe:
            return state.breaker.is_probe_due(now) and self._load_balancer.may_probe(id_)
        return now - state.last_used_at >= idle_s

    # -- the probe

    async def _probe(self, route: Route, selection: Selection) -> None:
        now, deployment = self._load_balancer.clock(), selection.deployment
        record = CallRecord("probe", "probe", "hamlet", "", False, now)
        if selection.is_probe:
            selection.candidate.state.breaker.start_probe(now)
        try:
            with (
                self._registries.lease(),
                self._gateway.attempt_scope(record, selection, _PROBE_COST) as attempt,
            ):
                usage = await send_minimal_request(route, deployment, route.policy.first_token_s)
            attempt.settle(usage)
        except ProviderError as error:
            if not (error.unhealthy or isinstance(error, RateLimited)):
                # It rejects this request, which says nothing about the calls of others; a repeated
                # probe would fail alike.
                idle_s = self._registries.current.config.fleet.probe_idle_s
                self._skipped_until[deployment.id] = self._load_balancer.clock() + idle_s


async def send_minimal_request(route: Route, deployment: Deployment, timeout_s: float) -> Usage:
    """Send the cheapest request there is, with `timeout_s` seconds for it. Raises ProviderError."""
    provider = deployment.provider
    if route.operation == "chat":
        message = Message("user", (Text("."),))
        params = ChatParams(max_tokens=1)
        chat_request = ChatRequest(deployment.model, (message,), params=params, stream=True)
        request, _ = prepare_chat(Call.from_request(chat_request), deployment, Policy())
        source = provider.instance.chat(request)
        head, _ = await open_stream(source, read_to_end=True, timeout_s=timeout_s)
        return next((item.usage for item in head if isinstance(item, Finished)), Usage())
    if "probe" in provider.operations:
        await with_timeout(provider.instance.probe(), timeout_s)
        return Usage(0, 0)
    one = EmbeddingRequest(deployment.model, (".",))
    response: EmbeddingResponse = await with_timeout(provider.instance.embed(one), timeout_s)
    return response.usage
