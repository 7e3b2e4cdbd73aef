"""The outcome of a selection: a deployment, or how long until one has room; and its reservation."""

from __future__ import annotations

from msgspec import Struct

from hamlet.core import Headroom
from hamlet.registry import Deployment
from hamlet.routing.cost_estimate import CostEstimate
from hamlet.routing.selection import Candidate


class Selection(Struct, frozen=True):
    """The deployment to call. `is_probe`: its half-open breaker is being tested, so hedge it."""

    candidate: Candidate
    tier: int
    is_probe: bool = False

    @property
    def deployment(self) -> Deployment:
        return self.candidate.deployment


class RoomWait(Struct, frozen=True):
    """No deployment has room for `seconds`. `throttled`: by cooldown or capacity, not a breaker."""

    seconds: float
    throttled: bool


class Reservation(Struct, eq=False):
    """One attempt as charged to its deployment's capacity. Ends with `LoadBalancer.settle`, once.

    `cost` is in input-equivalent tokens, `started_at` in monotonic seconds.
    """

    candidate: Candidate
    estimate: CostEstimate
    cost: float
    started_at: float
    is_probe: bool = False
    is_open: bool = True
    headroom: Headroom | None = None
    tier: int = 0
