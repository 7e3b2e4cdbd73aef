"""How others choose, for comparison: the same gateway with another head.

Each remembers less than hamlet's fleet: nothing, a flat minute, or the server's own wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.routing import Booking, Choice, Fleet, Look, Traffic
from hamlet.routing.selection import Member

_MINUTE_S = 60.0
_UNKNOWN_WAIT_S = 10.0


class _Plain(Fleet, ABC):
    """Strict tiers; within one `draw` picks from those untried and not cooling down."""

    def choose(self, traffic: Traffic, look: Look) -> Choice | None:
        for i, tier in enumerate(traffic.tiers):
            free = [m for m in tier.members if self._free(m, look)]
            if free and i not in look.spilled:
                return Choice(self.draw(free), i)
        return None

    @abstractmethod
    def draw(self, free: list[Member]) -> Member:
        """One of those who may be asked."""

    def _free(self, member: Member, look: Look) -> bool:
        tried = member.deployment.id in look.tried
        return not tried and look.now >= member.condition.cooldown_until

    def failed(self, booking: Booking, error: ProviderError) -> None:
        return


class RandomFailover(_Plain):
    """Any of the tier, at random; the next one after a failure. Remembers nothing."""

    def draw(self, free: list[Member]) -> Member:
        return self.rng.choice(free)


class ShuffleCooldown(_Plain):
    """A draw by weight; whoever failed, for whatever reason, is out for a minute."""

    def draw(self, free: list[Member]) -> Member:
        return self.rng.choices(free, [m.share for m in free])[0]

    def failed(self, booking: Booking, error: ProviderError) -> None:
        booking.member.condition.cool_down(_MINUTE_S, self.clock())


class StrictOrder(_Plain):
    """The first in the list that is not waiting out what the server asked for."""

    def draw(self, free: list[Member]) -> Member:
        return free[0]

    def failed(self, booking: Booking, error: ProviderError) -> None:
        if isinstance(error, (errors.RateLimited, errors.Overloaded)):
            wait = error.retry_after or _UNKNOWN_WAIT_S
            booking.member.condition.cool_down(wait, self.clock())


POLICIES: dict[str, Callable[..., Fleet]] = {
    "hamlet": Fleet,
    "random + failover": RandomFailover,
    "weighted shuffle + 60 s": ShuffleCooldown,
    "strict order": StrictOrder,
}
