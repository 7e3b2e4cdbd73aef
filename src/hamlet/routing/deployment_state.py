"""All that is known of one deployment now. Keyed by its id, so it outlives a reload."""

from __future__ import annotations

import random
from collections.abc import Hashable

from hamlet.core import Headroom
from hamlet.registry import Capacity, Deployment
from hamlet.routing.capacity_model import capacity_model_for
from hamlet.routing.circuit_breaker import CircuitBreaker
from hamlet.routing.gossip.message import DeploymentSnapshot
from hamlet.routing.latency import OUTLIER_RATIO, OUTLIER_SAMPLES, PeakEwma

_MAX_PREFIXES, _PREFIX_TTL_S = 256, 300.0
_PENALTY_FACTOR = 2.0
# Others' slowness counts if it is clearly more: what is on its way decays less than what is here.
_REMOTE_SLOWNESS_MARGIN = 1.2


class DeploymentState:
    """Cooldown and breaker are two things: a wait the vendor asked for, and our own distrust.

    A cooldown never shortens. Times are monotonic seconds.
    """

    __slots__ = (
        "_pending",
        "_prefix_expires_at",
        "breaker",
        "capacity",
        "capacity_model",
        "charged_tokens",
        "consecutive_throttles",
        "cooldown_until",
        "deployment_id",
        "headroom",
        "headroom_at",
        "in_flight",
        "last_used_at",
        "penalty_until",
        "slowness",
    )

    def __init__(self, deployment: Deployment, rng: random.Random, now: float) -> None:
        self.deployment_id = deployment.id
        self.capacity: Capacity | None = deployment.capacity
        self.capacity_model = capacity_model_for(deployment.capacity, now)
        self.slowness = PeakEwma(now)
        self.breaker = CircuitBreaker(rng)
        self.cooldown_until = 0.0
        self.penalty_until = 0.0
        self.consecutive_throttles = 0
        self.in_flight = 0
        self.charged_tokens = 0.0
        self.last_used_at = now
        # What an answer's headers last told of the capacity behind it.
        self.headroom: Headroom | None = None
        self.headroom_at = now
        self._prefix_expires_at: dict[int, float] = {}
        self._pending: dict[Hashable, tuple[float, float]] = {}

    def update_capacity(self, deployment: Deployment, now: float) -> None:
        """Begin a new ledger if a reload changed the capacity."""
        if deployment.capacity != self.capacity:
            self.capacity = deployment.capacity
            self.capacity_model = capacity_model_for(deployment.capacity, now)

    def cool_down(self, seconds: float, now: float) -> None:
        """Leave it alone for that long, at least."""
        self.cooldown_until = max(self.cooldown_until, now + seconds)

    def reset_slowness(self, now: float) -> None:
        """It is well again: how slow it was no longer counts."""
        self.slowness = PeakEwma(now)

    def track_pending(self, call: Hashable, now: float, expected_s: float) -> None:
        """A call was sent whose first content should come in so many seconds."""
        self._pending[call] = now, expected_s

    def untrack_pending(self, call: Hashable) -> None:
        """It came, or the call is over. May be said twice."""
        self._pending.pop(call, None)

    def is_outlier(self, now: float) -> bool:
        """Whether it is too slow to be asked while others can be.

        What it has not answered yet counts as soon as it is late: under load, to wait for the
        answer would be to send it a dozen calls more.
        """
        if not self._pending:
            return self.slowness.is_outlier(now)
        late = 0
        for sent_at, expected_s in self._pending.values():
            if now - sent_at <= OUTLIER_RATIO * expected_s or late == OUTLIER_SAMPLES:
                break
            late += 1
        return self.slowness.is_outlier(now, late, has_pending=True)

    def penalize(self, seconds: float, now: float) -> None:
        """Like others better for a while: its neighbours are in trouble."""
        self.penalty_until = max(self.penalty_until, now + seconds)

    def slowness_factor(self, now: float) -> float:
        """Times slower than expected, with what its neighbours' trouble adds."""
        value = self.slowness.value(now)
        return value * _PENALTY_FACTOR if now < self.penalty_until else value

    def snapshot(self, now: float) -> DeploymentSnapshot:
        """What other processes should know of it."""
        breaker = self.breaker
        return DeploymentSnapshot(
            cooldown_s=max(0.0, self.cooldown_until - now),
            penalty_s=max(0.0, self.penalty_until - now),
            slowness=self.slowness.value(now),
            epoch=breaker.epoch,
            reason=breaker.reason,
            open_remaining_s=max(0.0, breaker.open_until - now),
            trip_count=breaker.trip_count,
        )

    def merge_remote(self, remote: DeploymentSnapshot, now: float) -> None:
        """Take in what another process knows: the longer wait, the slower, the newer breaker."""
        if remote.cooldown_s:
            self.cool_down(remote.cooldown_s, now)
        if remote.penalty_s:
            self.penalize(remote.penalty_s, now)
        was_tripped = self.breaker.is_tripped
        self.breaker.merge_remote(
            remote.epoch, remote.reason, remote.open_remaining_s, remote.trip_count, now
        )
        if was_tripped and not self.breaker.is_tripped:
            self.reset_slowness(now)
        # Who has not heard yet that it is well again still tells how slow it was.
        is_current = remote.epoch >= self.breaker.epoch
        if is_current and remote.slowness > _REMOTE_SLOWNESS_MARGIN * self.slowness.value(now):
            self.slowness.raise_to(remote.slowness, now)

    def cached_prefix_tokens(self, prefixes: tuple[tuple[int, float], ...], now: float) -> float:
        """Tokens of the longest beginning it has served in the last five minutes."""
        for key, tokens in prefixes:
            if self._prefix_expires_at.get(key, 0.0) > now:
                return tokens
        return 0.0

    def record_prefixes(self, prefixes: tuple[tuple[int, float], ...], now: float) -> None:
        """It serves these beginnings."""
        for key, _ in prefixes:
            self._prefix_expires_at.pop(key, None)
            self._prefix_expires_at[key] = now + _PREFIX_TTL_S
        while len(self._prefix_expires_at) > _MAX_PREFIXES:
            del self._prefix_expires_at[next(iter(self._prefix_expires_at))]
