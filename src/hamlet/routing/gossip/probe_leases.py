"""One probe among all processes: which breakers this process may try."""

from __future__ import annotations

from collections.abc import Iterable

from hamlet.routing.deployment_state import Condition
from hamlet.routing.load_balancer import Fleet

LEASE_S = 5.0
_MARGIN_S = 0.5
_AHEAD_S = 1.0
_REST_S = 1.0


class Leases:
    """Leases are asked for a second before a breaker may be tried, so that no call waits for one.

    A lease is kept while a probe is under way. One that was of no use, as this process had no
    call to try with, lapses, and is left to others for a second. Times are monotonic seconds.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._held: dict[str, float] = {}
        self._resting: dict[str, float] = {}

    def holds(self, deployment_id: str) -> bool:
        """Whether this process may probe the deployment now."""
        return self._fleet.clock() < self._held.get(deployment_id, 0.0)

    def wanted(self) -> list[str]:
        """The deployments to ask a lease for, or to ask again, now."""
        now = self._fleet.clock()
        self._lapse(now)
        conditions = self._fleet.conditions.values()
        return [c.deployment_id for c in self._due(conditions, now) if self._wants(c, now)]

    def granted(self, deployment_id: str, asked_at: float) -> None:
        """The lease is ours; it counts from before it was asked for."""
        self._held[deployment_id] = asked_at + LEASE_S - _MARGIN_S

    def refused(self, deployment_id: str) -> None:
        """Another process has it."""
        self._held.pop(deployment_id, None)

    def draw(self, processes: int) -> None:
        """Without anybody to grant them: take each with the chance of one in `processes`."""
        now = self._fleet.clock()
        for deployment_id in self.wanted():
            if self._fleet.rng.random() < 1 / processes:
                self.granted(deployment_id, now)
            else:
                self._resting[deployment_id] = now + LEASE_S

    def _due(self, conditions: Iterable[Condition], now: float) -> Iterable[Condition]:
        return (c for c in conditions if c.breaker.opened and c.breaker.until - now <= _AHEAD_S)

    def _wants(self, condition: Condition, now: float) -> bool:
        until = self._held.get(condition.deployment_id)
        if until is None:
            return now >= self._resting.get(condition.deployment_id, 0.0)
        return until - now < LEASE_S / 2 and condition.breaker.on_trial(now)

    def _lapse(self, now: float) -> None:
        for deployment_id in [i for i, until in self._held.items() if until <= now]:
            del self._held[deployment_id]
            self._resting[deployment_id] = now + _REST_S
        self._resting = {i: until for i, until in self._resting.items() if until > now}
