"""Log lines for circuit breakers that open and close."""

from __future__ import annotations

import time
from collections.abc import Callable

from hamlet.routing import DeploymentState
from hamlet.spi import Log


class CircuitBreakerLog:
    """Logs each change of a deployment's circuit breaker, whichever process observed it."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._logged_epochs: dict[str, int] = {}

    def on_breaker_change(self, deployment_state: DeploymentState) -> None:
        """Log the state if its epoch is new."""
        deployment_id, breaker = deployment_state.deployment_id, deployment_state.breaker
        if breaker.epoch == self._logged_epochs.get(deployment_id, 0):
            return
        now = self._clock()
        self._logged_epochs[deployment_id] = breaker.epoch
        self._log.warning(
            "breaker.changed",
            deployment=deployment_id,
            state=breaker.state(now),
            reason=breaker.reason,
            opens_in_s=round(max(0.0, breaker.open_until - now), 1) if breaker.is_tripped else None,
            in_a_row=breaker.trip_count,
        )
