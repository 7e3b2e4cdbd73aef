"""All that is known of one deployment now. Keyed by its id, so it outlives a reload."""

from __future__ import annotations

import random
from collections.abc import Hashable

from hamlet.core import Headroom
from hamlet.registry import Capacity, Deployment
from hamlet.routing.capacity import ledger_for
from hamlet.routing.circuit_breaker import Breaker
from hamlet.routing.gossip.message import Standing
from hamlet.routing.latency import NO_ACCIDENT, TOO_SLOW, Slowness

_PREFIXES, _PREFIX_S = 256, 300.0
_PENALTY = 2.0
# Others' slowness counts if it is clearly more: what is on its way decays less than what is here.
_CLEARLY = 1.2


class Condition:
    """Cooldown and breaker are two things: a wait the vendor asked for, and our own distrust.

    A cooldown never shortens. Times are monotonic seconds.
    """

    __slots__ = (
        "_owed",
        "_prefixes",
        "breaker",
        "capacity",
        "charged",
        "cooldown_until",
        "deployment_id",
        "in_flight",
        "ledger",
        "penalty_until",
        "said",
        "said_at",
        "slowness",
        "throttles",
        "used_at",
    )

    def __init__(self, deployment: Deployment, rng: random.Random, now: float) -> None:
        self.deployment_id = deployment.id
        self.capacity: Capacity | None = deployment.capacity
        self.ledger = ledger_for(deployment.capacity, now)
        self.slowness = Slowness(now)
        self.breaker = Breaker(rng)
        self.cooldown_until = 0.0
        self.penalty_until = 0.0
        self.throttles = 0
        self.in_flight = 0
        self.charged = 0.0
        self.used_at = now
        # What an answer's headers last told of the capacity behind it.
        self.said: Headroom | None = None
        self.said_at = now
        self._prefixes: dict[int, float] = {}
        self._owed: dict[Hashable, tuple[float, float]] = {}

    def fit_to(self, deployment: Deployment, now: float) -> None:
        """Begin a new ledger if a reload changed the capacity."""
        if deployment.capacity != self.capacity:
            self.capacity = deployment.capacity
            self.ledger = ledger_for(deployment.capacity, now)

    def cool_down(self, seconds: float, now: float) -> None:
        """Leave it alone for that long, at least."""
        self.cooldown_until = max(self.cooldown_until, now + seconds)

    def heal(self, now: float) -> None:
        """It is well again: how slow it was no longer counts."""
        self.slowness = Slowness(now)

    def owes(self, call: Hashable, now: float, expected_s: float) -> None:
        """A call was sent whose first content should come in so many seconds."""
        self._owed[call] = now, expected_s

    def owes_no_more(self, call: Hashable) -> None:
        """It came, or the call is over. May be said twice."""
        self._owed.pop(call, None)

    def drags(self, now: float) -> bool:
        """Whether it is too slow to be asked while others can be.

        What it has not answered yet counts as soon as it is late: under load, to wait for the
        answer would be to send it a dozen calls more.
        """
        if not self._owed:
            return self.slowness.lasts(now)
        late = 0
        for sent, expected_s in self._owed.values():
            if now - sent <= TOO_SLOW * expected_s or late == NO_ACCIDENT:
                break
            late += 1
        return self.slowness.lasts(now, late, owing=True)

    def penalise(self, seconds: float, now: float) -> None:
        """Like others better for a while: its neighbours are in trouble."""
        self.penalty_until = max(self.penalty_until, now + seconds)

    def slow(self, now: float) -> float:
        """Times slower than expected, with what its neighbours' trouble adds."""
        value = self.slowness.value(now)
        return value * _PENALTY if now < self.penalty_until else value

    def standing(self, now: float) -> Standing:
        """What other processes should know of it."""
        breaker = self.breaker
        return Standing(
            cooldown_s=max(0.0, self.cooldown_until - now),
            penalty_s=max(0.0, self.penalty_until - now),
            slow=self.slowness.value(now),
            epoch=breaker.epoch,
            reason=breaker.reason,
            opens_in_s=max(0.0, breaker.until - now),
            trips=breaker.trips,
        )

    def absorb(self, said: Standing, now: float) -> None:
        """Take in what another process knows: the longer wait, the slower, the newer breaker."""
        if said.cooldown_s:
            self.cool_down(said.cooldown_s, now)
        if said.penalty_s:
            self.penalise(said.penalty_s, now)
        was_out = self.breaker.opened
        self.breaker.adopt(said.epoch, said.reason, said.opens_in_s, said.trips, now)
        if was_out and not self.breaker.opened:
            self.heal(now)
        # Who has not heard yet that it is well again still tells how slow it was.
        heard = said.epoch >= self.breaker.epoch
        if heard and said.slow > _CLEARLY * self.slowness.value(now):
            self.slowness.raise_to(said.slow, now)

    def remembers(self, prefixes: tuple[tuple[int, float], ...], now: float) -> float:
        """Tokens of the longest beginning it has served in the last five minutes."""
        for key, tokens in prefixes:
            if self._prefixes.get(key, 0.0) > now:
                return tokens
        return 0.0

    def remember(self, prefixes: tuple[tuple[int, float], ...], now: float) -> None:
        """It serves these beginnings."""
        for key, _ in prefixes:
            self._prefixes.pop(key, None)
            self._prefixes[key] = now + _PREFIX_S
        while len(self._prefixes) > _PREFIXES:
            del self._prefixes[next(iter(self._prefixes))]
