"""The routing state of one replica of several, without its process."""

import random
import time
from collections.abc import Callable
from typing import Any

from hamlet.registry import Deployment
from hamlet.routing import DeploymentState, LoadBalancer, PendingUpdates, ProbeLeases, SyncTask
from hamlet.routing.gossip.merger import Merger
from support.gateway import RecordingLog


class ReplicaState:
    """A load balancer that records what other replicas need, over deployments of its own.

    `sync_states` has what `sync_over` has reported, `breaker_changes` whether each change of a
    breaker opened it.
    """

    def __init__(
        self,
        deployments: list[Deployment],
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        self.deployments = deployments
        self.leases = ProbeLeases(clock, random.Random(seed))
        self.breaker_changes: list[bool] = []
        self.sync_states: list[str] = []
        self.load_balancer = LoadBalancer(
            clock,
            random.Random(seed),
            may_probe=self.leases.is_held,
            pending_updates=PendingUpdates(),
            on_breaker_change=lambda state: self.breaker_changes.append(state.breaker.is_tripped),
        )

    def new_merger(self, sender: str) -> Merger:
        """A merger of messages, for tests without a Redis."""
        return Merger(self.load_balancer, sender, lambda: self.deployments)

    def sync_over(self, url: str, **settings: Any) -> SyncTask:
        """A task that shares the state by a Redis URL; not started."""
        return SyncTask(
            self.load_balancer,
            self.leases,
            url,
            "test",
            lambda: self.deployments,
            RecordingLog(),
            self.sync_states.append,
            **settings,
        )

    def deployment_state(self, i: int = 0) -> DeploymentState:
        return self.load_balancer.deployment_state(self.deployments[i])

    def capacity_level(self, i: int = 0) -> float:
        """Tokens in use and not yet drained."""
        model = self.deployment_state(i).capacity_model
        return model.undrained_levels(self.load_balancer.clock())[0]
