"""Builds the load balancer of a process, and the task that shares its state."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hamlet.config import FleetConfig
from hamlet.registry import Deployment
from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.gossip.pending_updates import PendingUpdates
from hamlet.routing.gossip.probe_leases import ProbeLeases
from hamlet.routing.gossip.sync_task import SyncState, SyncTask
from hamlet.routing.load_balancer import LoadBalancer
from hamlet.spi import Log


def build_routing(
    config: FleetConfig,
    deployments: Callable[[], Iterable[Deployment]],
    log: Log,
    on_breaker_change: Callable[[DeploymentState], None],
    on_sync_state_change: Callable[[SyncState], None],
) -> tuple[LoadBalancer, SyncTask | None]:
    """The load balancer, and its SyncTask if `fleet.redis` is configured. Opens no connection."""
    if config.redis is None:
        return LoadBalancer(on_breaker_change=on_breaker_change), None
    probe_leases = ProbeLeases()
    load_balancer = LoadBalancer(
        may_probe=probe_leases.is_held,
        pending_updates=PendingUpdates(),
        on_breaker_change=on_breaker_change,
    )
    url = config.redis.get_secret_value()
    return load_balancer, SyncTask(
        load_balancer, probe_leases, url, config.group, deployments, log, on_sync_state_change
    )
