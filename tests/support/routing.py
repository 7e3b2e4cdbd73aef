"""Load balancers on a clock that the test advances."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hamlet.config import Policy
from hamlet.core import ModelCard
from hamlet.registry import Capacity, Deployment, ProviderHandle, ReservedThroughput, Route
from hamlet.routing import CostEstimate, LoadBalancer, PendingUpdates, Selection
from hamlet.routing.circuit_breaker import ProbeCheck
from support.clock import ManualClock

# 60,000 input tokens a minute: a thousand a second, thirty thousand deep.
PTU = ReservedThroughput(24, 2500, 3.0)


def stub_deployment(name: str, capacity: Capacity | None = PTU, **more: Any) -> Deployment:
    """A deployment that is never called."""
    handle = ProviderHandle(name, "scripted", None, ("chat",))
    fields = {"quota_group": name, "vendor": "v", **more}
    return Deployment(
        f"{name}/m", handle, "m", fields.pop("card", ModelCard()), capacity=capacity, **fields
    )


class RoutingHarness:
    """A load balancer with one route over tiers of deployments."""

    def __init__(
        self,
        *tiers: Sequence[Deployment],
        seed: int = 1,
        may_probe: ProbeCheck = lambda _: True,
        pending_updates: PendingUpdates | None = None,
        **route: Any,
    ) -> None:
        self.clock = ManualClock()
        self.load_balancer = LoadBalancer(
            self.clock, random.Random(seed), may_probe=may_probe, pending_updates=pending_updates
        )
        levels = tuple(tuple(tier) for tier in tiers)
        self.route = Route("r", "chat", levels, route.pop("policy", Policy()), **route)

    def choose(self, cost: CostEstimate | None = None, **context: Any) -> Selection | None:
        """One selection, as the gateway makes it."""
        route_state = self.load_balancer.route_state(self.route)
        return self.load_balancer.select(
            route_state,
            self.load_balancer.build_context(cost or CostEstimate(100, 100, 100), **context),
        )

    def count_selections(
        self, count: int = 200, cost: CostEstimate | None = None
    ) -> dict[str, int]:
        """How often each deployment is selected when no attempt starts."""
        chosen = [self.choose(cost) for _ in range(count)]
        names = [c.deployment.id.split("/")[0] for c in chosen if c is not None]
        return {name: names.count(name) for name in sorted(set(names))}

    def deployment_state(self, name: str) -> Any:
        """The state of a deployment."""
        self.load_balancer.route_state(self.route)
        return self.load_balancer.deployment_states[f"{name}/m"]
