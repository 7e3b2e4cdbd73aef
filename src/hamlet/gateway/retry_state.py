"""Whether another attempt may follow, and after which wait."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hamlet.config import Policy
from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.gateway.selector import MAX_REFUSALS_PER_TIER, Selector
from hamlet.registry import Deployment
from hamlet.routing import Selection

_FAILOVER_JITTER_S = 0.05
_EXTRA_REFUSALS = 2
_PROBE_HEDGE_FACTOR = 0.5
_MAX_HEDGED_TOKENS, _MIN_HEDGE_DELAY_S = 4000.0, 0.3
_MIN_HEDGE_BUDGET_RATIO, _MAX_HEDGE_FILL = 0.5, 0.7

Target = Literal["spill", "same", "other"]


class RetryState(Struct, eq=False):
    """The retries and hedges of one call. Call `close` when the call has its response, or none.

    A 429 spills over: the call goes on to another deployment at once, which uses up no attempt of
    the policy and nothing of the retry budget. Any other failure counts as an attempt, and the
    next attempt takes one retry from the route's budget, unless it goes to another deployment whose
    own record is good. `max_upstream_calls` of the policy bounds all of them together.

    After a failure `can_retry`, `wait_s` and `has_reached_limit` are called in this order, as
    tenacity does it. The call goes on unless `can_retry` is false or `has_reached_limit` true.
    """

    selector: Selector
    failed_attempts: int = 0
    same_deployment_retries: int = 0
    budgeted_retries: int = 0
    target: Target = "other"

    # -- retries

    def can_retry(self, error: BaseException) -> bool:
        """Whether another attempt may succeed after this failure; sets its `target`."""
        selector = self.selector
        failed = selector.current
        if selector.is_exhausted or not isinstance(error, ProviderError) or failed is None:
            return False
        selector.last_error = error
        if selector.upstream_calls >= self._policy.max_upstream_calls:
            return False
        if isinstance(error, errors.RateLimited):
            self.target = "spill"
            return self._can_spill_over(failed)
        self.failed_attempts += 1
        if self._prefers_same_deployment() and error.repeatable:
            self.target = "same"
        elif self._can_fail_over(error, failed):
            self.target = "other"
        elif error.repeatable:
            self.target = "same"
        else:
            return False
        return True

    def wait_s(self) -> float:
        """Seconds to wait before the next attempt; infinite if the policy allows none so long."""
        selector = self.selector
        error, failed = selector.last_error, selector.current
        assert error is not None, "nothing has failed"
        assert failed is not None, "nothing was selected"
        if self.target == "spill":
            return 0.0
        if self.target == "same":
            backoff_s = self._backoff_s(error)
            if backoff_s <= self._policy.backoff_max_s:
                self.same_deployment_retries += 1
                selector.repeat_current()
                return backoff_s
            if not (self._prefers_same_deployment() and self._can_fail_over(error, failed)):
                return float("inf")
        self.same_deployment_retries = 0
        selector.avoid_failure_domain(failed.deployment)
        return selector.load_balancer.rng.uniform(0, _FAILOVER_JITTER_S)

    def has_reached_limit(self, wait_s: float) -> bool:
        """Whether the attempts, the time or the route's retry budget forbid another attempt.

        Takes one retry from the budget if not, or prefers healthy deployments from now on.
        """
        if self.target == "spill":
            return False
        return not (
            self.failed_attempts < self._policy.attempts
            and self.selector.has_time_for_attempt()
            and wait_s < self.selector.remaining_s()
            and (self._is_free_failover() or self._spend_retry_budget())
        )

    def close(self) -> None:
        """Count the call's retries as ended."""
        if self.budgeted_retries:
            for _ in range(self.budgeted_retries):
                self.selector.route_state.retry_budget.end_retry()
            self.budgeted_retries = 0

    # -- hedges

    def hedge_delay_s(self, selection: Selection) -> float | None:
        """Seconds after which to start a second attempt on another deployment; None for never.

        A probe always has a backup. Any other attempt has one only if the route's policy says so,
        the prompt is short, the deployment is not nearly full, and at least half of the route's
        retry budget is left.
        """
        selector = self.selector
        if not (selection.is_probe or selector.route_state.route.policy.hedge):
            return None
        model = selection.candidate.latency_model
        if selection.is_probe:
            return _PROBE_HEDGE_FACTOR * model.predict_s(selector.latency_tokens)
        if selector.cost_estimate.input_tokens > _MAX_HEDGED_TOKENS:
            return None
        p95_s = model.quantile_s(0.95, selector.latency_tokens)
        budget = selector.route_state.retry_budget
        if p95_s is None or budget.remaining_ratio < _MIN_HEDGE_BUDGET_RATIO:
            return None
        is_nearly_full = selector.fill(selection) > _MAX_HEDGE_FILL
        return None if is_nearly_full else max(p95_s, _MIN_HEDGE_DELAY_S)

    def select_backup(self, primary: Selection) -> Selection | None:
        """A deployment for the second attempt; None if there is none or the budget is spent."""
        if self.selector.upstream_calls >= self._policy.max_upstream_calls:
            return None
        spend = self._spend_retry_budget if primary.is_probe else self._spend_hedge_budget
        return self.selector.select_backup(primary) if spend() else None

    # -- the parts of the decisions

    @property
    def _policy(self) -> Policy:
        return self.selector.route_state.route.policy

    def _can_spill_over(self, full: Selection) -> bool:
        refusals = self.selector.record_refusal(full)
        tiers = len(self.selector.route_state.tiers)
        return self._policy.failover and refusals <= MAX_REFUSALS_PER_TIER * tiers + _EXTRA_REFUSALS

    def _is_free_failover(self) -> bool:
        """To move a call to another deployment that is well is load balancing, not a retry."""
        return self.target == "other" and self.selector.prefer_healthy()

    def _prefers_same_deployment(self) -> bool:
        return self._policy.retry_first == "same" and self.same_deployment_retries == 0

    def _can_fail_over(self, error: ProviderError, failed: Selection) -> bool:
        return (
            self._policy.failover
            and self._is_failover_useful(error, failed.deployment)
            and self.selector.has_candidate()
        )

    def _is_failover_useful(self, error: ProviderError, failed: Deployment) -> bool:
        if isinstance(error, errors.ContextTooLong):
            return self.selector.exclude_smaller_windows(failed)
        if isinstance(error, errors.ContentBlocked):
            return self._policy.content_filter == "failover"
        return error.try_other

    def _backoff_s(self, error: ProviderError) -> float:
        """The wait that the upstream asks for, else exponential backoff with full jitter."""
        ceiling = self._policy.backoff_base_s * 2**self.same_deployment_retries
        return error.retry_after or self.selector.load_balancer.rng.uniform(0, ceiling)

    def _spend_hedge_budget(self) -> bool:
        # Not counted as in flight: the hedge budget bounds only the rate of hedges.
        hedges = self.selector.route_state.hedge_budget
        if not hedges.try_start_retry():
            return False
        hedges.end_retry()
        return self._spend_retry_budget()

    def _spend_retry_budget(self) -> bool:
        if not self.selector.route_state.retry_budget.try_start_retry():
            return False
        self.budgeted_retries += 1
        return True
