"""Log lines for breakers that open and close."""

from __future__ import annotations

from hamlet.routing import LoadBalancer
from hamlet.routing.deployment_state import DeploymentState
from hamlet.spi import Log


class CircuitBreakerLog:
    """Tells of a deployment's breaker when it has changed, whoever learned of it."""

    def __init__(self, load_balancer: LoadBalancer, log: Log) -> None:
        self._load_balancer = load_balancer
        self._log = log
        self._logged_epochs: dict[str, int] = {}
        load_balancer.on_breaker_change = self._on_state_change

    def _on_state_change(self, deployment_state: DeploymentState) -> None:
        deployment_id, breaker = deployment_state.deployment_id, deployment_state.breaker
        if breaker.epoch == self._logged_epochs.get(deployment_id, 0):
            return
        now = self._load_balancer.clock()
        self._logged_epochs[deployment_id] = breaker.epoch
        self._log.warning(
            "breaker.changed",
            deployment=deployment_id,
            state=breaker.state(now),
            reason=breaker.reason,
            opens_in_s=round(max(0.0, breaker.open_until - now), 1) if breaker.is_tripped else None,
            in_a_row=breaker.trip_count,
        )
