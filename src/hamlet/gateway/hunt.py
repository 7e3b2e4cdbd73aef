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
from hamlet.routing import CostEstimate, LoadBalancer, RouteState, Selection, SelectionContext

_FAILOVER_JITTER_S = 0.05
_MAX_SPILLS_PER_TIER, _EXTRA_SPILLS = 2, 2
_MIN_ATTEMPT_S, _MAX_ATTEMPT_SHARE = 1.0, 0.6
_MIN_WAIT_S = 0.05
_PROBE_HEDGE_FACTOR = 0.5
_MAX_HEDGED_TOKENS, _MIN_HEDGE_DELAY_S, _MIN_HEDGE_BUDGET_SHARE, _MAX_HEDGE_FILL = (
    4000.0,
    0.3,
    0.5,
    0.7,
)

_NO_DEPLOYMENTS: frozenset[str] = frozenset()


class Hunt:
    """One call's search for an answer.

    A refusal by a full deployment (429) is routing: it moves on at once and costs nothing. Other
    failures cost an attempt of the policy and one of the route's retry budget. `remaining` gives
    the seconds left; `take` marks a deployment as tried.
    """

    __slots__ = (
        "_avoided_ids",
        "_budgeted_retries",
        "_cost_estimate",
        "_current",
        "_exhausted",
        "_failed_attempts",
        "_full_ids",
        "_last_error",
        "_load_balancer",
        "_policy",
        "_refusals_by_tier",
        "_remaining_s",
        "_retry_same",
        "_route_state",
        "_same_deployment_retries",
        "_tried_ids",
        "_wait_budget_s",
        "wait_s",
    )  # fmt: skip

    def __init__(
        self,
        fleet: LoadBalancer,
        traffic: RouteState,
        demand: CostEstimate,
        remaining: Callable[[], float],
    ) -> None:
        self._load_balancer = fleet
        self._route_state = traffic
        self._cost_estimate = demand
        self._policy: Policy = traffic.route.policy
        self._remaining_s = remaining
        self._wait_budget_s = self._policy.wait_share * min(self._policy.first_token_s, remaining())
        # Not sets of their own: most calls need none, and streams keep what they have.
        self._tried_ids: frozenset[str] = _NO_DEPLOYMENTS
        self._full_ids: frozenset[str] = _NO_DEPLOYMENTS
        self._avoided_ids: frozenset[str] = _NO_DEPLOYMENTS
        self._refusals_by_tier: dict[int, int] = {}
        self._failed_attempts = 0
        self._same_deployment_retries = 0
        self._budgeted_retries = 0
        self._current: Selection | None = None
        self._retry_same = False
        self._last_error: ProviderError | None = None
        self._exhausted = False
        self.wait_s = 0.0

    # -- the next deployment

    async def select_next(self) -> Selection:
        """The deployment to ask now, perhaps after a wait for room.

        Raises the last ProviderError, or Saturated or NoDeployment if there was none; Unsupported
        or ContextTooLong if nobody could ever take the call.
        """
        if self._retry_same and self._current is not None:
            self._retry_same = False
            # Another call may have learnt meanwhile that its key or its money is the trouble.
            if not self._current.candidate.state.breaker.is_retry_futile(
                self._load_balancer.clock()
            ):
                return self._current
        while True:
            choice = self._select()
            if choice is None and not await self._wait_for_capacity():
                choice = self._select_full_or_raise()
            if choice is not None:
                return self._mark_tried(choice)

    def select_backup(self, primary: Selection) -> Selection | None:
        """Another deployment to ask beside `primary`, in another region if there is one.

        None if there is none, or if the route has hedged or retried enough.
        """
        if not (self._spend_retry_budget() if primary.is_probe else self._spend_hedge_budget()):
            return None
        self._avoid_failure_domain(primary.deployment)
        choice = self._select()
        return self._mark_tried(choice) if choice is not None and not choice.is_probe else None

    def hedge_delay_s(self, choice: Selection) -> float | None:
        """Seconds after which to ask a second deployment beside this one; None for never.

        A probe always has a backup. Other calls only on routes that say so, if they are short, and
        while the fleet has room and the route's budget for it is not half gone.
        """
        demand, traffic = self._cost_estimate, self._route_state
        tokens = demand.input_tokens if demand.stream else demand.likely_output_tokens
        if choice.is_probe:
            return _PROBE_HEDGE_FACTOR * choice.candidate.latency_model.predict_s(tokens)
        if not self._policy.hedge or demand.input_tokens > _MAX_HEDGED_TOKENS:
            return None
        usual = choice.candidate.latency_model.quantile_s(0.95, tokens)
        if usual is None or traffic.retry_budget.remaining_ratio < _MIN_HEDGE_BUDGET_SHARE:
            return None
        crowded = self._selection_context().fill(choice.candidate) > _MAX_HEDGE_FILL
        return None if crowded else max(usual, _MIN_HEDGE_DELAY_S)

    def first_token_timeout_s(self, choice: Selection) -> float:
        """Seconds to wait for content: not all there are, while somebody else could be asked."""
        left = self._remaining_s()
        limit = min(self._policy.first_token_s, left) if self._cost_estimate.stream else left
        if len(self._tried_ids) >= self._route_state.candidate_count:
            return limit
        share = _MAX_ATTEMPT_SHARE * left
        if self._cost_estimate.stream:
            p99 = choice.candidate.latency_model.quantile_s(0.99, self._cost_estimate.input_tokens)
            share = min(max(2 * p99, _MIN_ATTEMPT_S), share) if p99 else share
        return min(limit, share)

    def _select(self) -> Selection | None:
        """Somebody far from what failed, if there is anybody; else anybody."""
        if self._avoided_ids:
            choice = self._load_balancer.select(
                self._route_state, self._selection_context(self._avoided_ids)
            )
            if choice is not None:
                return choice
        return self._load_balancer.select(self._route_state, self._selection_context())

    def _selection_context(self, avoided: frozenset[str] = _NO_DEPLOYMENTS) -> SelectionContext:
        if not (self._tried_ids or avoided):
            return self._load_balancer.build_context(self._cost_estimate)
        spilled = frozenset(
            i for i, n in self._refusals_by_tier.items() if n >= _MAX_SPILLS_PER_TIER
        )
        return self._load_balancer.build_context(
            self._cost_estimate, self._tried_ids | avoided, spilled
        )

    def _avoid_failure_domain(self, failed: Deployment) -> None:
        """Failures come in regions and zones: keep away from those of this one."""
        places = {failed.region, failed.data_zone} - {None}
        self._avoided_ids |= {
            m.deployment.id
            for tier in self._route_state.tiers
            for m in tier.candidates
            if m.deployment.region in places or m.deployment.data_zone in places
        }

    def _mark_tried(self, choice: Selection) -> Selection:
        self._tried_ids |= {choice.candidate.deployment.id}
        self._current = choice
        return choice

    async def _wait_for_capacity(self) -> bool:
        """Wait until somebody has room, if that is soon enough; whoever was full may have it."""
        look = self._load_balancer.build_context(
            self._cost_estimate, self._tried_ids - self._full_ids
        )
        wait = self._load_balancer.earliest_room(self._route_state, look)
        if wait is None or wait.seconds > min(self._wait_budget_s, self._remaining_s()):
            return False
        seconds = max(wait.seconds, _MIN_WAIT_S)
        self._wait_budget_s -= seconds
        await asyncio.sleep(seconds)
        self._tried_ids -= self._full_ids
        self._refusals_by_tier.clear()
        return True

    def _select_full_or_raise(self) -> Selection:
        look = self._load_balancer.build_context(self._cost_estimate, self._tried_ids)
        if not self._cost_estimate.sheddable and (
            choice := self._load_balancer.select_least_full(self._route_state, look)
        ):
            return choice
        self._exhausted = True
        wait = self._load_balancer.earliest_room(
            self._route_state, self._load_balancer.build_context(self._cost_estimate)
        )
        if self._last_error is not None:
            if wait is not None and isinstance(self._last_error, errors.RateLimited):
                self._last_error.retry_after = wait.seconds
            raise self._last_error
        name = self._route_state.route.name
        if wait is None:
            raise _incapable_error(self._route_state.route, self._cost_estimate)
        if wait.throttled:
            raise Saturated(f"every deployment of {name!r} is full", retry_after=wait.seconds)
        raise NoDeployment(f"no deployment of {name!r} is well", retry_after=wait.seconds)

    # -- the verdict on a failure

    def should_retry(self, error: BaseException) -> bool:
        """Decide whether another attempt may follow; `wait_s` is the pause before it."""
        if self._exhausted or not isinstance(error, ProviderError) or self._current is None:
            return False
        self._last_error, self.wait_s = error, 0.0
        if isinstance(error, errors.RateLimited):
            return self._spill_over(self._current)
        self._failed_attempts += 1
        return (
            self._failed_attempts < self._policy.attempts
            and self._has_time_for_attempt(self._current)
            and self._plan_retry(error, self._current)
            and self.wait_s < self._remaining_s()
            and self._spend_retry_budget()
        )

    def close(self) -> None:
        """The call has its answer, or none: its retries are over."""
        for _ in range(self._budgeted_retries):
            self._route_state.retry_budget.end_retry()
        self._budgeted_retries = 0

    def _spill_over(self, here: Selection) -> bool:
        self._full_ids |= {here.deployment.id}
        self._refusals_by_tier[here.tier] = self._refusals_by_tier.get(here.tier, 0) + 1
        most = _MAX_SPILLS_PER_TIER * len(self._route_state.tiers) + _EXTRA_SPILLS
        return self._policy.failover and sum(self._refusals_by_tier.values()) <= most

    def _has_time_for_attempt(self, here: Selection) -> bool:
        tokens = (
            self._cost_estimate.input_tokens
            if self._cost_estimate.stream
            else self._cost_estimate.likely_output_tokens
        )
        return here.candidate.latency_model.predict_s(tokens) <= self._remaining_s()

    def _plan_retry(self, error: ProviderError, here: Selection) -> bool:
        same_first = self._policy.retry_first == "same" and self._same_deployment_retries == 0
        return (
            (same_first and self._plan_same_deployment_retry(error))
            or self._plan_failover(error, here)
            or (not same_first and self._plan_same_deployment_retry(error))
        )

    def _plan_failover(self, error: ProviderError, here: Selection) -> bool:
        if not (self._policy.failover and self._is_failover_useful(error, here.deployment)):
            return False
        look = self._selection_context()
        if not any(
            look.rejection_reason(member) is None
            for tier in self._route_state.tiers
            for member in tier.candidates
        ):
            return False
        self._same_deployment_retries = 0
        self._avoid_failure_domain(here.deployment)
        self.wait_s = self._load_balancer.rng.uniform(0, _FAILOVER_JITTER_S)
        return True

    def _is_failover_useful(self, error: ProviderError, here: Deployment) -> bool:
        if isinstance(error, errors.ContextTooLong):
            return self._exclude_smaller_windows(here)
        if isinstance(error, errors.ContentBlocked):
            return self._policy.content_filter == "failover"
        return error.try_other

    def _exclude_smaller_windows(self, here: Deployment) -> bool:
        """Only a larger window helps: leave out all that have none."""
        window = here.card.context_window or 0
        members = [m.deployment for tier in self._route_state.tiers for m in tier.candidates]
        larger = {d.id for d in members if (d.card.context_window or 0) > window}
        self._tried_ids |= {d.id for d in members} - larger
        return bool(larger)

    def _plan_same_deployment_retry(self, error: ProviderError) -> bool:
        if not error.repeatable:
            return False
        ceiling = self._policy.backoff_base_s * 2**self._same_deployment_retries
        wait = error.retry_after or self._load_balancer.rng.uniform(0, ceiling)
        if wait > self._policy.backoff_max_s:
            return False
        self._same_deployment_retries += 1
        self._retry_same = True
        self.wait_s = wait
        return True

    def _spend_hedge_budget(self) -> bool:
        hedges = self._route_state.hedge_budget
        if not hedges.try_start_retry():
            return False
        hedges.end_retry()
        return self._spend_retry_budget()

    def _spend_retry_budget(self) -> bool:
        if not self._route_state.retry_budget.try_start_retry():
            return False
        self._budgeted_retries += 1
        return True


def _incapable_error(route: Route, demand: CostEstimate) -> Unsupported | ContextTooLong:
    deployments = [d for tier in route.tiers for d in tier]
    if any(demand.features <= d.card.features for d in deployments):
        return ContextTooLong(f"the prompt is too long for the model {route.name!r}")
    lacks = [
        f for f in sorted(demand.features) if not any(f in d.card.features for d in deployments)
    ]
    missing = ", ".join(lacks or sorted(demand.features))
    return Unsupported(f"the model {route.name!r} does not support: {missing}")
