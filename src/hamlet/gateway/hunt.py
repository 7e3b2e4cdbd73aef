"""Where a call goes next: which deployment, after which wait, or nowhere any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hamlet.config import Policy
from hamlet.core import errors
from hamlet.core.errors import (
    ContextTooLong,
    NoDeployment,
    ProviderError,
    Saturated,
    Unsupported,
)
from hamlet.registry import Deployment, Route
from hamlet.routing import Choice, Demand, Fleet, Look, Traffic

_OTHER_JITTER_S = 0.05
_SPILLS_PER_TIER, _MORE_SPILLS = 2, 2
_ATTEMPT_LEAST_S, _ATTEMPT_SHARE = 1.0, 0.6
_WAIT_LEAST_S = 0.05
_PROBE_PATIENCE = 0.5
_HEDGED_TOKENS, _HEDGE_LEAST_S, _HEDGE_RESERVE, _HEDGE_FILL = 4000.0, 0.3, 0.5, 0.7

_NOBODY: frozenset[str] = frozenset()


class Hunt:
    """One call's search for an answer.

    A refusal by a full deployment (429) is routing: it moves on at once and costs nothing. Other
    failures cost an attempt of the policy and one of the route's retry budget. `remaining` gives
    the seconds left; `take` marks a deployment as tried.
    """

    __slots__ = (
        "_again", "_attempts", "_avoided", "_budgeted", "_demand", "_fleet", "_full", "_here",
        "_last", "_over", "_policy", "_refusals", "_remaining", "_repeats", "_traffic", "_tried",
        "_wait_left", "wait_s",
    )  # fmt: skip

    def __init__(
        self,
        fleet: Fleet,
        traffic: Traffic,
        demand: Demand,
        remaining: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._traffic = traffic
        self._demand = demand
        self._policy: Policy = traffic.route.policy
        self._remaining = remaining
        self._wait_left = self._policy.wait_share * min(self._policy.first_token_s, remaining())
        # Not sets of their own: most calls need none, and streams keep what they have.
        self._tried: frozenset[str] = _NOBODY
        self._full: frozenset[str] = _NOBODY
        self._avoided: frozenset[str] = _NOBODY
        self._refusals: dict[int, int] = {}
        self._attempts = 0
        self._repeats = 0
        self._budgeted = 0
        self._here: Choice | None = None
        self._again = False
        self._last: ProviderError | None = None
        self._over = False
        self.wait_s = 0.0

    # -- the next deployment

    async def next(self) -> Choice:
        """The deployment to ask now, perhaps after a wait for room.

        Raises the last ProviderError, or Saturated or NoDeployment if there was none; Unsupported
        or ContextTooLong if nobody could ever take the call.
        """
        if self._again and self._here is not None:
            self._again = False
            # Another call may have learnt meanwhile that its key or its money is the trouble.
            if not self._here.member.condition.breaker.hopeless(self._fleet.clock()):
                return self._here
        while True:
            choice = self._choose()
            if choice is None and not await self._wait_for_room():
                choice = self._last_resort()
            if choice is not None:
                return self._take(choice)

    def backup(self, primary: Choice) -> Choice | None:
        """Another deployment to ask beside `primary`, in another region if there is one.

        None if there is none, or if the route has hedged or retried enough.
        """
        if not (self._pay() if primary.probe else self._pay_for_hedge()):
            return None
        self._avoid(primary.deployment)
        choice = self._choose()
        return self._take(choice) if choice is not None and not choice.probe else None

    def hedge_after(self, choice: Choice) -> float | None:
        """Seconds after which to ask a second deployment beside this one; None for never.

        A probe always has a backup. Other calls only on routes that say so, if they are short, and
        while the fleet has room and the route's budget for it is not half gone.
        """
        demand, traffic = self._demand, self._traffic
        tokens = demand.input_tokens if demand.stream else demand.likely_output
        if choice.probe:
            return _PROBE_PATIENCE * choice.member.expectation.of(tokens)
        if not self._policy.hedge or demand.input_tokens > _HEDGED_TOKENS:
            return None
        usual = choice.member.expectation.quantile(0.95, tokens)
        if usual is None or traffic.budget.share_left < _HEDGE_RESERVE:
            return None
        crowded = self._look().fill(choice.member) > _HEDGE_FILL
        return None if crowded else max(usual, _HEDGE_LEAST_S)

    def first_token_limit(self, choice: Choice) -> float:
        """Seconds to wait for content: not all there are, while somebody else could be asked."""
        left = self._remaining()
        limit = min(self._policy.first_token_s, left) if self._demand.stream else left
        if len(self._tried) >= self._traffic.size:
            return limit
        share = _ATTEMPT_SHARE * left
        if self._demand.stream:
            p99 = choice.member.expectation.quantile(0.99, self._demand.input_tokens)
            share = min(max(2 * p99, _ATTEMPT_LEAST_S), share) if p99 else share
        return min(limit, share)

    def _choose(self) -> Choice | None:
        """Somebody far from what failed, if there is anybody; else anybody."""
        if self._avoided:
            choice = self._fleet.choose(self._traffic, self._look(self._avoided))
            if choice is not None:
                return choice
        return self._fleet.choose(self._traffic, self._look())

    def _look(self, avoided: frozenset[str] = _NOBODY) -> Look:
        if not (self._tried or avoided):
            return self._fleet.look(self._demand)
        spilled = frozenset(i for i, n in self._refusals.items() if n >= _SPILLS_PER_TIER)
        return self._fleet.look(self._demand, self._tried | avoided, spilled)

    def _avoid(self, failed: Deployment) -> None:
        """Failures come in regions and zones: keep away from those of this one."""
        places = {failed.region, failed.data_zone} - {None}
        self._avoided |= {
            m.deployment.id
            for tier in self._traffic.tiers
            for m in tier.members
            if m.deployment.region in places or m.deployment.data_zone in places
        }

    def _take(self, choice: Choice) -> Choice:
        self._tried |= {choice.member.deployment.id}
        self._here = choice
        return choice

    async def _wait_for_room(self) -> bool:
        """Wait until somebody has room, if that is soon enough; whoever was full may have it."""
        look = self._fleet.look(self._demand, self._tried - self._full)
        wait = self._fleet.earliest(self._traffic, look)
        if wait is None or wait.seconds > min(self._wait_left, self._remaining()):
            return False
        seconds = max(wait.seconds, _WAIT_LEAST_S)
        self._wait_left -= seconds
        await asyncio.sleep(seconds)
        self._tried -= self._full
        self._refusals.clear()
        return True

    def _last_resort(self) -> Choice:
        look = self._fleet.look(self._demand, self._tried)
        if not self._demand.sheddable and (choice := self._fleet.least_full(self._traffic, look)):
            return choice
        self._over = True
        wait = self._fleet.earliest(self._traffic, self._fleet.look(self._demand))
        if self._last is not None:
            if wait is not None and isinstance(self._last, errors.RateLimited):
                self._last.retry_after = wait.seconds
            raise self._last
        name = self._traffic.route.name
        if wait is None:
            raise _incapable(self._traffic.route, self._demand)
        if wait.throttled:
            raise Saturated(f"every deployment of {name!r} is full", retry_after=wait.seconds)
        raise NoDeployment(f"no deployment of {name!r} is well", retry_after=wait.seconds)

    # -- the verdict on a failure

    def may_go_on(self, error: BaseException) -> bool:
        """Decide whether another attempt may follow; `wait_s` is the pause before it."""
        if self._over or not isinstance(error, ProviderError) or self._here is None:
            return False
        self._last, self.wait_s = error, 0.0
        if isinstance(error, errors.RateLimited):
            return self._spill(self._here)
        self._attempts += 1
        return (
            self._attempts < self._policy.attempts
            and self._has_time(self._here)
            and self._move(error, self._here)
            and self.wait_s < self._remaining()
            and self._pay()
        )

    def close(self) -> None:
        """The call has its answer, or none: its retries are over."""
        for _ in range(self._budgeted):
            self._traffic.budget.done()
        self._budgeted = 0

    def _spill(self, here: Choice) -> bool:
        self._full |= {here.deployment.id}
        self._refusals[here.tier] = self._refusals.get(here.tier, 0) + 1
        most = _SPILLS_PER_TIER * len(self._traffic.tiers) + _MORE_SPILLS
        return self._policy.failover and sum(self._refusals.values()) <= most

    def _has_time(self, here: Choice) -> bool:
        tokens = self._demand.input_tokens if self._demand.stream else self._demand.likely_output
        return here.member.expectation.of(tokens) <= self._remaining()

    def _move(self, error: ProviderError, here: Choice) -> bool:
        same_first = self._policy.retry_first == "same" and self._repeats == 0
        return (
            (same_first and self._repeat(error))
            or self._turn_away(error, here)
            or (not same_first and self._repeat(error))
        )

    def _turn_away(self, error: ProviderError, here: Choice) -> bool:
        if not (self._policy.failover and self._worth_elsewhere(error, here.deployment)):
            return False
        look = self._look()
        if not any(
            look.barred(member) is None for tier in self._traffic.tiers for member in tier.members
        ):
            return False
        self._repeats = 0
        self._avoid(here.deployment)
        self.wait_s = self._fleet.rng.uniform(0, _OTHER_JITTER_S)
        return True

    def _worth_elsewhere(self, error: ProviderError, here: Deployment) -> bool:
        if isinstance(error, errors.ContextTooLong):
            return self._narrow_to_larger(here)
        if isinstance(error, errors.ContentBlocked):
            return self._policy.content_filter == "failover"
        return error.try_other

    def _narrow_to_larger(self, here: Deployment) -> bool:
        """Only a larger window helps: leave out all that have none."""
        window = here.card.context_window or 0
        members = [m.deployment for tier in self._traffic.tiers for m in tier.members]
        larger = {d.id for d in members if (d.card.context_window or 0) > window}
        self._tried |= {d.id for d in members} - larger
        return bool(larger)

    def _repeat(self, error: ProviderError) -> bool:
        if not error.repeatable:
            return False
        ceiling = self._policy.backoff_base_s * 2**self._repeats
        wait = error.retry_after or self._fleet.rng.uniform(0, ceiling)
        if wait > self._policy.backoff_max_s:
            return False
        self._repeats += 1
        self._again = True
        self.wait_s = wait
        return True

    def _pay_for_hedge(self) -> bool:
        hedges = self._traffic.hedges
        if not hedges.take():
            return False
        hedges.done()
        return self._pay()

    def _pay(self) -> bool:
        if not self._traffic.budget.take():
            return False
        self._budgeted += 1
        return True


def _incapable(route: Route, demand: Demand) -> Unsupported | ContextTooLong:
    deployments = [d for tier in route.tiers for d in tier]
    if any(demand.features <= d.card.features for d in deployments):
        return ContextTooLong(f"the prompt is too long for the model {route.name!r}")
    lacks = [
        f for f in sorted(demand.features) if not any(f in d.card.features for d in deployments)
    ]
    missing = ", ".join(lacks or sorted(demand.features))
    return Unsupported(f"the model {route.name!r} does not support: {missing}")
