"""Selection policies of other gateways, for comparison: hamlet's gateway with another load balancer.

Each remembers less than hamlet's: nothing, a fixed cooldown of a minute, or the vendor's retry-after.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.routing import LoadBalancer, Reservation, RouteState, Selection, SelectionContext
from hamlet.routing.selection import Candidate

_MINUTE_S = 60.0
_UNKNOWN_WAIT_S = 10.0


class _TieredPolicy(LoadBalancer, ABC):
    """Strict tiers; `pick_candidate` chooses among those untried and not cooling down."""

    def select(self, route_state: RouteState, context: SelectionContext) -> Selection | None:
        for i, tier in enumerate(route_state.tiers):
            available = [m for m in tier.candidates if self._is_available(m, context)]
            if available and i not in context.full_tiers:
                return Selection(self.pick_candidate(available), i)
        return None

    @abstractmethod
    def pick_candidate(self, available: list[Candidate]) -> Candidate:
        """One of the available candidates."""

    def _is_available(self, candidate: Candidate, context: SelectionContext) -> bool:
        tried = candidate.deployment.id in context.tried
        return not tried and context.now >= candidate.state.cooldown_until

    def record_failure(self, reservation: Reservation, error: ProviderError) -> None:
        return


class RandomFailover(_TieredPolicy):
    """Any candidate of the tier at random; another one after a failure. Remembers nothing."""

    def pick_candidate(self, available: list[Candidate]) -> Candidate:
        return self.rng.choice(available)


class ShuffleCooldown(_TieredPolicy):
    """A draw by weight; after any failure a deployment cools down for a minute."""

    def pick_candidate(self, available: list[Candidate]) -> Candidate:
        return self.rng.choices(available, [m.weight for m in available])[0]

    def record_failure(self, reservation: Reservation, error: ProviderError) -> None:
        reservation.candidate.state.cool_down(_MINUTE_S, self.clock())


class StrictOrder(_TieredPolicy):
    """The first in the list that is not cooling down after a retry-after."""

    def pick_candidate(self, available: list[Candidate]) -> Candidate:
        return available[0]

    def record_failure(self, reservation: Reservation, error: ProviderError) -> None:
        if isinstance(error, (errors.RateLimited, errors.Overloaded)):
            wait = error.retry_after or _UNKNOWN_WAIT_S
            reservation.candidate.state.cool_down(wait, self.clock())


POLICIES: dict[str, Callable[..., LoadBalancer]] = {
    "hamlet": LoadBalancer,
    "random + failover": RandomFailover,
    "weighted shuffle + 60 s": ShuffleCooldown,
    "strict order": StrictOrder,
}
