"""Leases on probes, so that one process at a time probes a half-open deployment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from hamlet.routing.deployment_state import DeploymentState

LEASE_TTL_S = 5.0
_SAFETY_MARGIN_S = 0.5
_REQUEST_AHEAD_S = 1.0
_BACKOFF_S = 1.0


class ProbeLeases:
    """Leases are requested a second before a probe is due, so that no call waits for one.

    A lease is extended while a probe is in flight. If it expires unused, since this process had no
    call to probe with, others may take it for a second first. Times are monotonic seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, rng: random.Random | None = None
    ) -> None:
        self._clock = clock
        self._rng = rng or random.Random()
        self._held_until: dict[str, float] = {}
        self._backoff_until: dict[str, float] = {}

    def is_held(self, deployment_id: str) -> bool:
        """Whether this process may probe the deployment now."""
        return self._clock() < self._held_until.get(deployment_id, 0.0)

    def ids_to_request(self, states: Iterable[DeploymentState]) -> list[str]:
        """The ids of the deployments whose lease is to be requested or extended now."""
        now = self._clock()
        self._expire(now)
        return [
            state.deployment_id
            for state in states
            if _is_due_soon(state, now) and self._should_request(state, now)
        ]

    def on_granted(self, deployment_id: str, requested_at: float) -> None:
        """This process has the lease. It counts from `requested_at`, before Redis set it."""
        self._held_until[deployment_id] = requested_at + LEASE_TTL_S - _SAFETY_MARGIN_S

    def on_refused(self, deployment_id: str) -> None:
        """Another process has the lease."""
        self._held_until.pop(deployment_id, None)

    def assign_randomly(self, states: Iterable[DeploymentState], process_count: int) -> None:
        """Without Redis to grant them: take each lease with a chance of 1 in `process_count`."""
        now = self._clock()
        for deployment_id in self.ids_to_request(states):
            if self._rng.random() < 1 / process_count:
                self.on_granted(deployment_id, now)
            else:
                self._backoff_until[deployment_id] = now + LEASE_TTL_S

    def _should_request(self, state: DeploymentState, now: float) -> bool:
        until = self._held_until.get(state.deployment_id)
        if until is None:
            return now >= self._backoff_until.get(state.deployment_id, 0.0)
        return until - now < LEASE_TTL_S / 2 and state.breaker.is_probing(now)

    def _expire(self, now: float) -> None:
        for deployment_id in [i for i, until in self._held_until.items() if until <= now]:
            del self._held_until[deployment_id]
            self._backoff_until[deployment_id] = now + _BACKOFF_S
        self._backoff_until = {i: until for i, until in self._backoff_until.items() if until > now}


def _is_due_soon(state: DeploymentState, now: float) -> bool:
    return state.breaker.is_tripped and state.breaker.open_until - now <= _REQUEST_AHEAD_S
