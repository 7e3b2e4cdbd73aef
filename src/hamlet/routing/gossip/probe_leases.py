"""One probe among all processes: which breakers this process may try."""

from __future__ import annotations

from collections.abc import Iterable

from hamlet.routing.deployment_state import DeploymentState
from hamlet.routing.load_balancer import LoadBalancer

LEASE_TTL_S = 5.0
_SAFETY_MARGIN_S = 0.5
_REQUEST_AHEAD_S = 1.0
_BACKOFF_S = 1.0


class ProbeLeases:
    """Leases are asked for a second before a breaker may be tried, so that no call waits for one.

    A lease is kept while a probe is under way. One that was of no use, as this process had no
    call to try with, lapses, and is left to others for a second. Times are monotonic seconds.
    """

    def __init__(self, load_balancer: LoadBalancer) -> None:
        self._load_balancer = load_balancer
        self._held_until: dict[str, float] = {}
        self._backoff_until: dict[str, float] = {}

    def is_held(self, deployment_id: str) -> bool:
        """Whether this process may probe the deployment now."""
        return self._load_balancer.clock() < self._held_until.get(deployment_id, 0.0)

    def ids_to_request(self) -> list[str]:
        """The deployments to ask a lease for, or to ask again, now."""
        now = self._load_balancer.clock()
        self._expire(now)
        states = self._load_balancer.deployment_states.values()
        return [
            c.deployment_id for c in self._due_soon(states, now) if self._should_request(c, now)
        ]

    def on_granted(self, deployment_id: str, requested_at: float) -> None:
        """The lease is ours; it counts from before it was asked for."""
        self._held_until[deployment_id] = requested_at + LEASE_TTL_S - _SAFETY_MARGIN_S

    def on_refused(self, deployment_id: str) -> None:
        """Another process has it."""
        self._held_until.pop(deployment_id, None)

    def assign_randomly(self, process_count: int) -> None:
        """Without anybody to grant them: take each with the chance of one in `processes`."""
        now = self._load_balancer.clock()
        for deployment_id in self.ids_to_request():
            if self._load_balancer.rng.random() < 1 / process_count:
                self.on_granted(deployment_id, now)
            else:
                self._backoff_until[deployment_id] = now + LEASE_TTL_S

    def _due_soon(self, states: Iterable[DeploymentState], now: float) -> Iterable[DeploymentState]:
        return (
            c
            for c in states
            if c.breaker.is_tripped and c.breaker.open_until - now <= _REQUEST_AHEAD_S
        )

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
