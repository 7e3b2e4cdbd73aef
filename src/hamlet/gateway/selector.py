"""Which deployment an attempt of a call goes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct, field

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

# A tier is left after so many of its deployments have refused the call with a 429.
MAX_REFUSALS_PER_TIER = 2
_MIN_ATTEMPT_S, _MAX_ATTEMPT_SHARE = 1.0, 0.6
_MIN_WAIT_S = 0.05

_NO_IDS: frozenset[str] = frozenset()


class Selector(Struct, eq=False):
    """Selects the deployments of one call, one after another.

    Knows which were tried, which refused with a 429, and which share a region or data zone with
    one that failed. `remaining_s` gives the seconds left of the call's deadline; `current` is the
    last selection, `last_error` how it failed. `is_exhausted` says that a selection has found no
    deployment.
    """

    load_balancer: LoadBalancer
    route_state: RouteState
    cost_estimate: CostEstimate
    remaining_s: Callable[[], float]
    current: Selection | None = None
    last_error: ProviderError | None = None
    is_exhausted: bool = False
    _repeats_current: bool = False
    _wait_budget_s: float = 0.0
    # Frozen sets, because most calls need none of their own.
    _tried_ids: frozenset[str] = _NO_IDS
    _full_ids: frozenset[str] = _NO_IDS
    _avoided_ids: frozenset[str] = _NO_IDS
    _refusals_by_tier: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        policy = self.route_state.route.policy
        self._wait_budget_s = policy.wait_share * min(policy.first_token_s, self.remaining_s())

    # -- the next deployment

    async def select_next(self) -> Selection:
        """The deployment for the next attempt, perhaps after a wait for capacity.

        Raises, if there is none: `last_error`; before any attempt Saturated or NoDeployment, or
        Unsupported or ContextTooLong if no deployment of the route can ever take the call.
        """
        if self._repeats_current and self.current is not None:
            self._repeats_current = False
            # Meanwhile another call may have learned that the key or the credit is the problem.
            now = self.load_balancer.clock()
            if not self.current.candidate.state.breaker.is_retry_futile(now):
                return self.current
        while True:
            selection = self._select()
            if selection is None and not await self._wait_for_capacity():
                selection = self._select_full_or_raise()
            if selection is not None:
                return self._mark_tried(selection)

    def repeat_current(self) -> None:
        """Let the next attempt go to the current deployment again."""
        self._repeats_current = True

    def select_backup(self, primary: Selection) -> Selection | None:
        """A deployment for a hedge of `primary`, in another region if there is one."""
        self.avoid_failure_domain(primary.deployment)
        selection = self._select()
        if selection is None or selection.is_probe:
            return None
        return self._mark_tried(selection)

    def has_candidate(self) -> bool:
        """Whether any deployment that was not tried could be selected now."""
        context = self._selection_context()
        return any(
            context.rejection_reason(candidate) is None
            for tier in self.route_state.tiers
            for candidate in tier.candidates
        )

    def fill(self, selection: Selection) -> float:
        """The used share of the deployment's capacity, with this call."""
        return self._selection_context().fill(selection.candidate)

    # -- what is learned from failures

    def record_refusal(self, full: Selection) -> int:
        """A deployment has answered 429. Returns how many have."""
        self._full_ids |= {full.deployment.id}
        self._refusals_by_tier[full.tier] = self._refusals_by_tier.get(full.tier, 0) + 1
        return sum(self._refusals_by_tier.values())

    def avoid_failure_domain(self, failed: Deployment) -> None:
        """Prefer other regions and data zones: failures often affect a whole one."""
        places = {failed.region, failed.data_zone} - {None}
        self._avoided_ids |= {
            candidate.deployment.id
            for tier in self.route_state.tiers
            for candidate in tier.candidates
            if candidate.deployment.region in places or candidate.deployment.data_zone in places
        }

    def exclude_smaller_windows(self, failed: Deployment) -> bool:
        """Select only larger context windows from now on; False if there is none."""
        window = failed.card.context_window or 0
        deployments = [c.deployment for tier in self.route_state.tiers for c in tier.candidates]
        larger = {d.id for d in deployments if (d.card.context_window or 0) > window}
        self._tried_ids |= {d.id for d in deployments} - larger
        return bool(larger)

    # -- time

    @property
    def latency_tokens(self) -> float:
        """The tokens that determine the latency: the prompt's if streaming, else the output's."""
        estimate = self.cost_estimate
        return estimate.input_tokens if estimate.stream else estimate.likely_output_tokens

    def has_time_for_attempt(self) -> bool:
        """Whether a response is expected before the deadline, judged by the current deployment."""
        assert self.current is not None, "nothing was selected"
        model = self.current.candidate.latency_model
        return model.predict_s(self.latency_tokens) <= self.remaining_s()

    def attempt_timeout_s(self, selection: Selection) -> float:
        """Seconds to wait for the first token, or for all of a response that is not streamed.

        A share of the time left while another deployment could still be tried, else all of it.
        """
        limit_s, estimate = self.remaining_s(), self.cost_estimate
        share_s = _MAX_ATTEMPT_SHARE * limit_s
        if estimate.stream:
            limit_s = min(self.route_state.route.policy.first_token_s, limit_s)
        if len(self._tried_ids) >= self.route_state.candidate_count:
            return limit_s
        if estimate.stream:
            p99 = selection.candidate.latency_model.quantile_s(0.99, estimate.input_tokens)
            share_s = min(max(2 * p99, _MIN_ATTEMPT_S), share_s) if p99 else share_s
        return min(limit_s, share_s)

    # -- the parts of a selection

    def _select(self) -> Selection | None:
        """A deployment outside the failure domains to avoid; if there is none, any."""
        if self._avoided_ids:
            selection = self.load_balancer.select(
                self.route_state, self._selection_context(self._avoided_ids)
            )
            if selection is not None:
                return selection
        return self.load_balancer.select(self.route_state, self._selection_context())

    def _selection_context(self, avoided: frozenset[str] = _NO_IDS) -> SelectionContext:
        if not (self._tried_ids or avoided):
            return self.load_balancer.build_context(self.cost_estimate)
        full_tiers = frozenset(
            tier for tier, n in self._refusals_by_tier.items() if n >= MAX_REFUSALS_PER_TIER
        )
        return self.load_balancer.build_context(
            self.cost_estimate, self._tried_ids | avoided, full_tiers
        )

    def _mark_tried(self, selection: Selection) -> Selection:
        self._tried_ids |= {selection.candidate.deployment.id}
        self.current = selection
        return selection

    async def _wait_for_capacity(self) -> bool:
        """Wait until a deployment has capacity, if the wait is short enough.

        Deployments that have refused count too, and may be selected again after the wait.
        """
        context = self.load_balancer.build_context(
            self.cost_estimate, self._tried_ids - self._full_ids
        )
        wait = self.load_balancer.earliest_room(self.route_state, context)
        if wait is None or wait.seconds > min(self._wait_budget_s, self.remaining_s()):
            return False
        wait_s = max(wait.seconds, _MIN_WAIT_S)
        self._wait_budget_s -= wait_s
        await asyncio.sleep(wait_s)
        self._tried_ids -= self._full_ids
        self._refusals_by_tier.clear()
        return True

    def _select_full_or_raise(self) -> Selection:
        """A deployment that is full by its capacity model, which only estimates; else raise."""
        context = self.load_balancer.build_context(self.cost_estimate, self._tried_ids)
        if not self.cost_estimate.sheddable and (
            selection := self.load_balancer.select_least_full(self.route_state, context)
        ):
            return selection
        self.is_exhausted = True
        wait = self.load_balancer.earliest_room(
            self.route_state, self.load_balancer.build_context(self.cost_estimate)
        )
        if self.last_error is not None:
            if wait is not None and isinstance(self.last_error, errors.RateLimited):
                self.last_error.retry_after = wait.seconds
            raise self.last_error
        name = self.route_state.route.name
        if wait is None:
            raise _incapable_error(self.route_state.route, self.cost_estimate)
        if wait.throttled:
            raise Saturated(f"every deployment of {name!r} is full", retry_after=wait.seconds)
        raise NoDeployment(f"no deployment of {name!r} is well", retry_after=wait.seconds)


def _incapable_error(route: Route, estimate: CostEstimate) -> Unsupported | ContextTooLong:
    """Why no deployment of the route can take the call: a feature, or the size of the prompt."""
    deployments = [d for tier in route.tiers for d in tier]
    if any(estimate.features <= d.card.features for d in deployments):
        return ContextTooLong(f"the prompt is too long for the model {route.name!r}")
    lacks = [
        f for f in sorted(estimate.features) if not any(f in d.card.features for d in deployments)
    ]
    missing = ", ".join(lacks or sorted(estimate.features))
    return Unsupported(f"the model {route.name!r} does not support: {missing}")
