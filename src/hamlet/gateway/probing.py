"""Asks deployments that nobody asks, so that their trouble and their recovery are known early."""

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
from hamlet.gateway.gateway import Gateway, within
from hamlet.gateway.observers import Record
from hamlet.gateway.parameters import prepare_chat
from hamlet.gateway.stream import open_stream
from hamlet.registry import Deployment, Registry, RegistryHolder, Reserved, Route
from hamlet.routing import Choice, Demand, Fleet

_EVERY_S = 1.0
_DEMAND = Demand(1.0, 1.0, 1.0)
_Found = tuple[Route, Choice]


class Prober:
    """Probes what is idle or about to be let back in: one call a second among all processes.

    A probe is a real attempt: it books, and its outcome moves breaker, cooldown and latency.
    Observers see it as an attempt of the operation "probe", since it is one and costs tokens, but
    not as a call: nobody asked, and calls are what users get.
    """

    def __init__(
        self,
        registries: RegistryHolder,
        gateway: Gateway,
        processes: Callable[[], int] = lambda: 1,
        every_s: float = _EVERY_S,
    ) -> None:
        """`processes` says how many share the budget of one probe every `every_s`."""
        self._registries = registries
        self._gateway = gateway
        self._fleet: Fleet = gateway.fleet
        self._processes = processes
        self._every_s = every_s
        self._left_alone: dict[str, float] = {}
        self._on = False
        self._task: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> bool:
        """Whether it has begun and there is anything to probe."""
        return self._task is not None

    async def start(self) -> None:
        """Begin, if the registry in use has anything to probe."""
        self._on = True
        await self.refresh()

    async def refresh(self) -> None:
        """The registry has been replaced: there may be something to probe now, or nothing."""
        wanted = self._on and any(True for _ in self._probed(self._registries.current))
        if wanted and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif not wanted:
            await self._stop()

    async def aclose(self) -> None:
        """Stop, and call off what is under way."""
        self._on = False
        await self._stop()

    async def _stop(self) -> None:
        tasks = [*self._probes, *([self._task] if self._task else [])]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._processes() * self._every_s * random.uniform(0.9, 1.1))
            if found := self._due():
                task = asyncio.create_task(self._probe(*found))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)

    # -- whom to ask

    def _probed(self, registry: Registry) -> Iterator[_Found]:
        """All deployments that the configuration wants probed."""
        policy = registry.config.fleet.probe
        if policy == "off":
            return
        for route in registry.routes.values():
            traffic = self._fleet.traffic(route, stream=route.operation == "chat")
            for i, tier in enumerate(traffic.tiers):
                for member in tier.members:
                    if policy == "all" or isinstance(member.deployment.capacity, Reserved):
                        yield route, Choice(member, i, member.condition.breaker.opened)

    def _due(self) -> _Found | None:
        """A deployment that may come back, else the one that was idle for longest."""
        registry = self._registries.current
        idle_s = registry.config.fleet.probe_idle_s
        due = [found for found in self._probed(registry) if self._is_due(found[1], idle_s)]
        return min(
            due,
            key=lambda found: (not found[1].probe, found[1].member.condition.used_at),
            default=None,
        )

    def _is_due(self, choice: Choice, idle_s: float) -> bool:
        now, condition = self._fleet.clock(), choice.member.condition
        id_ = condition.deployment_id
        if condition.in_flight or now < max(
            condition.cooldown_until, self._left_alone.get(id_, 0.0)
        ):
            return False
        if choice.probe:
            return condition.breaker.probe_due(now) and self._fleet.lease(id_)
        return now - condition.used_at >= idle_s

    # -- asking

    async def _probe(self, route: Route, choice: Choice) -> None:
        now, deployment = self._fleet.clock(), choice.deployment
        record = Record("probe", "probe", "hamlet", "", False, now)
        if choice.probe:
            choice.member.condition.breaker.start_probe(now)
        booking = self._fleet.begin(choice, _DEMAND)
        try:
            with self._registries.lease(), self._gateway.attempting(record, booking) as attempt:
                usage = await ask_least(route, deployment, route.policy.first_token_s)
            attempt.passed()
            self._fleet.settle(booking, usage)
        except ProviderError as error:
            if not (error.unhealthy or isinstance(error, RateLimited)):
                # It answers, but not this: that says nothing of others' calls, now as later.
                idle_s = self._registries.current.config.fleet.probe_idle_s
                self._left_alone[deployment.id] = self._fleet.clock() + idle_s


async def ask_least(route: Route, deployment: Deployment, limit_s: float) -> Usage:
    """The least that can be asked of a deployment, within so many seconds. Raises ProviderError."""
    provider = deployment.provider
    if route.operation == "chat":
        message = Message("user", (Text("."),))
        params = ChatParams(max_tokens=1)
        asked = ChatRequest(deployment.model, (message,), params=params, stream=True)
        request, _ = prepare_chat(Call.of(asked), deployment, Policy())
        source = provider.instance.chat(request)
        head, _ = await open_stream(source, whole=True, timeout_s=limit_s)
        return next((item.usage for item in head if isinstance(item, Finished)), Usage())
    if "probe" in provider.operations:
        await within(provider.instance.probe(), limit_s)
        return Usage(0, 0)
    one = EmbeddingRequest(deployment.model, (".",))
    answer: EmbeddingResponse = await within(provider.instance.embed(one), limit_s)
    return answer.usage
