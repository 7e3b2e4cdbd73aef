"""The state of one deployment. It is keyed by the id, so it survives a reload."""

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
# Remote slowness must be clearly higher: in transit it decays less than the local value.
_REMOTE_SLOWNESS_MARGIN = 1.2


class DeploymentState:
    """Capacity, latency, cooldown and circuit breaker of a deployment, and its calls in flight.

    A cooldown is a pause that the vendor asked for, and never gets shorter; the breaker judges by
    failures. Times are monotonic seconds.
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
        # From the headers of the last reply that had them.
        self.headroom: Headroom | None = None
        self.headroom_at = now
        self._prefix_expires_at: dict[int, float] = {}
        self._pending: dict[Hashable, tuple[float, float]] = {}

    def update_capacity(self, deployment: Deployment, now: float) -> None:
        """Start a new capacity model if a reload changed the capacity."""
        if deployment.capacity != self.capacity:
            self.capacity = deployment.capacity
            self.capacity_model = capacity_model_for(deployment.capacity, now)

    def cool_down(self, seconds: float, now: float) -> None:
        """Send no calls for at least that long."""
        self.cooldown_until = max(self.cooldown_until, now + seconds)

    def reset_slowness(self, now: float) -> None:
        """It has recovered: past slowness no longer counts."""
        self.slowness = PeakEwma(now)

    def track_pending(self, call: Hashable, now: float, expected_s: float) -> None:
        """A call was sent whose first content is expected within `expected_s`."""
        self._pending[call] = now, expected_s

    def untrack_pending(self, call: Hashable) -> None:
        """The first content arrived, or the call has ended. Idempotent."""
        self._pending.pop(call, None)

    def is_outlier(self, now: float) -> bool:
        """Whether it is too slow to be selected while others are available.

        Pending calls count as soon as they are late: waiting for their responses would mean a dozen
        more calls under load.
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
        """Prefer other deployments for a while, since its region is overloaded."""
        self.penalty_until = max(self.penalty_until, now + seconds)

    def slowness_factor(self, now: float) -> float:
        """How many times slower than expected it is, including a penalty."""
        value = self.slowness.value(now)
        return value * _PENALTY_FACTOR if now < self.penalty_until else value

    def snapshot(self, now: float) -> DeploymentSnapshot:
        """The state that other processes share."""
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
        """Merge a remote state: the longer wait, the higher slowness, the newer breaker."""
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
        # A process that does not know of the recovery yet still reports the old slowness.
        is_current = remote.epoch >= self.breaker.epoch
        if is_current and remote.slowness > _REMOTE_SLOWNESS_MARGIN * self.slowness.value(now):
            self.slowness.raise_to(remote.slowness, now)

    def cached_prefix_tokens(self, prefixes: tuple[tuple[int, float], ...], now: float) -> float:
        """Tokens of the longest prefix that it has served in the last five minutes."""
        for key, tokens in prefixes:
            if self._prefix_expires_at.get(key, 0.0) > now:
                return tokens
        return 0.0

    def record_prefixes(self, prefixes: tuple[tuple[int, float], ...], now: float) -> None:
        """It has served these prefixes, so they are probably in its cache."""
        for key, _ in prefixes:
            self._prefix_expires_at.pop(key, None)
            self._prefix_expires_at[key] = now + _PREFIX_TTL_S
        while len(self._prefix_expires_at) > _MAX_PREFIXES:
            del self._prefix_expires_at[next(iter(self._prefix_expires_at))]
