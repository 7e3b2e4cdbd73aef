"""A model of each deployment's capacity, so that full ones are known before they refuse a call.

Reserved capacity as Azure documents it: a call is charged prompt - cached + max_tokens when it is
admitted, corrected to its usage when it ends, and the charge drains at a constant rate.
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/provisioned-throughput
"""

from __future__ import annotations

import math
from typing import Protocol

from hamlet.core import Headroom, Usage
from hamlet.registry import Capacity, Quota, ReservedThroughput
from hamlet.routing.cost_estimate import CostEstimate, valid_count
from hamlet.routing.token_bucket import TokenBucket

# Azure does not publish the bucket's capacity: it is learned, in seconds of the rate.
DEPTH_START_S, DEPTH_MIN_S, DEPTH_MAX_S = 30.0, 5.0, 120.0
_DEPTH_GROWTH_INTERVAL_S = 60.0
# A call that costs more than this part of the bucket needs no more than this part free.
_MAX_COST_SHARE = 0.5
# Vendors enforce quotas of requests over about ten seconds, those of tokens over a minute.
_REQUESTS_WINDOW_S, _TOKENS_WINDOW_S = 10.0, 60.0


class CapacityModel(Protocol):
    """Times are monotonic seconds, costs input-equivalent tokens, fills 0 to 1 of the capacity."""

    def cost(self, estimate: CostEstimate, cached_tokens: float = 0.0) -> float:
        """The charge of a call that is admitted."""
        ...

    def fill(self, cost: float, now: float) -> float:
        """How full the deployment would be with this cost added."""
        ...

    def time_until_free(self, cost: float, max_fill: float, now: float) -> float:
        """Seconds until the cost fits below `max_fill`."""
        ...

    def reserve(self, cost: float, now: float) -> None:
        """Charge an admission."""
        ...

    def adjust(self, difference: float, now: float) -> None:
        """Charge what a call cost beyond its reservation; a negative difference is credited."""
        ...

    def actual_cost(self, usage: Usage) -> float | None:
        """The cost of a call by its usage; None if the usage lacks the counts."""
        ...

    def observe_refusal(self, now: float) -> None:
        """The deployment refused a call as it is full."""
        ...

    def observe_headers(self, headroom: Headroom, now: float) -> None:
        """Correct the model by the headers of a reply."""
        ...

    def add_remote_charges(self, cost: float, calls: float, now: float) -> None:
        """Add the charges of other processes."""
        ...

    def undrained_levels(self, now: float) -> tuple[float, float]:
        """The cost and the calls that have not drained yet."""
        ...

    def set_share(self, share: float, now: float) -> None:
        """Use this part of the configured capacity from now on, 0 to 1."""
        ...


class ReservedCapacity:
    """The token bucket of provisioned capacity, whose size is learned."""

    def __init__(self, capacity: ReservedThroughput, now: float) -> None:
        rate = capacity.tokens_per_s
        self._output_weight = capacity.output_weight
        self._bucket = TokenBucket(rate, rate * DEPTH_START_S, now)
        self._no_refusal_since = now
        self._peak_fill = 0.0
        self._share = 1.0

    @property
    def depth_s(self) -> float:
        """The learned size of the bucket, in seconds of its rate."""
        return self._bucket.capacity / self._bucket.rate

    def cost(self, estimate: CostEstimate, cached_tokens: float = 0.0) -> float:
        fresh = max(0.0, estimate.input_tokens - cached_tokens)
        return fresh + self._output_weight * estimate.output_tokens

    def fill(self, cost: float, now: float) -> float:
        return (self._bucket.level(now) + self._clamp_cost(cost)) / self._bucket.capacity

    def time_until_free(self, cost: float, max_fill: float, now: float) -> float:
        return self._bucket.time_until_free(self._clamp_cost(cost), now, max_fill)

    def reserve(self, cost: float, now: float) -> None:
        bucket = self._bucket
        self._peak_fill = max(self._peak_fill, bucket.add(cost, now) / bucket.capacity)
        if now - self._no_refusal_since >= _DEPTH_GROWTH_INTERVAL_S:
            # A minute of nearly full use without a refusal: the bucket is larger than assumed.
            self._scale_depth(1.02 if self._peak_fill > 0.95 else 1.0)
            self._no_refusal_since, self._peak_fill = now, 0.0

    def adjust(self, difference: float, now: float) -> None:
        self._bucket.add(difference, now)

    def actual_cost(self, usage: Usage) -> float | None:
        input_tokens, output_tokens = (
            valid_count(usage.input_tokens),
            valid_count(usage.output_tokens),
        )
        if input_tokens is None or output_tokens is None:
            return None
        cached = min(valid_count(usage.cache_read_tokens) or 0.0, input_tokens)
        return input_tokens - cached + self._output_weight * output_tokens

    def observe_refusal(self, now: float) -> None:
        if self._bucket.level(now) < 0.8 * self._bucket.capacity:
            self._scale_depth(0.9)
        self._bucket.exhaust(now)
        self._no_refusal_since, self._peak_fill = now, 0.0

    def observe_headers(self, headroom: Headroom, now: float) -> None:
        if headroom.spilled:
            self._bucket.exhaust(now)
        elif headroom.utilisation is not None:
            reported_level = headroom.utilisation * self._bucket.capacity
            self._bucket.add(0.5 * (reported_level - self._bucket.level(now)), now)

    def add_remote_charges(self, cost: float, calls: float, now: float) -> None:
        self._bucket.add(cost, now)

    def undrained_levels(self, now: float) -> tuple[float, float]:
        return self._bucket.level(now), 0.0

    def set_share(self, share: float, now: float) -> None:
        self._bucket.scale(share / self._share, now)
        self._share = share

    def _clamp_cost(self, cost: float) -> float:
        return min(cost, _MAX_COST_SHARE * self._bucket.capacity)

    def _scale_depth(self, factor: float) -> None:
        rate = self._bucket.rate
        depth_s = min(max(self.depth_s * factor, DEPTH_MIN_S), DEPTH_MAX_S)
        self._bucket.capacity = rate * depth_s


class QuotaCapacity:
    """Tokens and requests a minute. Headers only lower the estimate of what is left."""

    def __init__(self, capacity: Quota, now: float) -> None:
        self._token_bucket = _per_minute_bucket(capacity.tpm, _TOKENS_WINDOW_S, now)
        self._request_bucket = _per_minute_bucket(capacity.rpm, _REQUESTS_WINDOW_S, now)
        self._share = 1.0

    def cost(self, estimate: CostEstimate, cached_tokens: float = 0.0) -> float:
        # Cached tokens count towards a quota in full.
        return estimate.input_tokens + estimate.output_tokens

    def fill(self, cost: float, now: float) -> float:
        token_fill = (
            self._token_bucket.level(now) + self._clamp_cost(cost)
        ) / self._token_bucket.capacity
        return max(
            token_fill, (self._request_bucket.level(now) + 1) / self._request_bucket.capacity
        )

    def time_until_free(self, cost: float, max_fill: float, now: float) -> float:
        tokens_free_s = self._token_bucket.time_until_free(self._clamp_cost(cost), now, max_fill)
        return max(tokens_free_s, self._request_bucket.time_until_free(1, now, max_fill))

    def reserve(self, cost: float, now: float) -> None:
        self._token_bucket.add(cost, now)
        self._request_bucket.add(1, now)

    def adjust(self, difference: float, now: float) -> None:
        self._token_bucket.add(difference, now)

    def actual_cost(self, usage: Usage) -> float | None:
        input_tokens, output_tokens = (
            valid_count(usage.input_tokens),
            valid_count(usage.output_tokens),
        )
        return (
            None if input_tokens is None or output_tokens is None else input_tokens + output_tokens
        )

    def observe_refusal(self, now: float) -> None:
        # A refusal does not say which of the limits was hit: the cooldown has to do.
        return

    def observe_headers(self, headroom: Headroom, now: float) -> None:
        reported = (
            (self._token_bucket, headroom.tokens),
            (self._request_bucket, headroom.requests),
        )
        for bucket, remaining in reported:
            # Zero and negative counts are often stale.
            if remaining is not None and remaining > 0 and bucket.capacity < math.inf:
                bucket.add(max(0.0, bucket.capacity - remaining - bucket.level(now)), now)

    def add_remote_charges(self, cost: float, calls: float, now: float) -> None:
        self._token_bucket.add(cost, now)
        self._request_bucket.add(calls, now)

    def undrained_levels(self, now: float) -> tuple[float, float]:
        return self._token_bucket.level(now), self._request_bucket.level(now)

    def set_share(self, share: float, now: float) -> None:
        for bucket in (self._token_bucket, self._request_bucket):
            bucket.scale(share / self._share, now)
        self._share = share

    def _clamp_cost(self, cost: float) -> float:
        return min(cost, _MAX_COST_SHARE * self._token_bucket.capacity)


class UnlimitedCapacity:
    """Unknown capacity: there is always room."""

    def cost(self, estimate: CostEstimate, cached_tokens: float = 0.0) -> float:
        return 0.0

    def fill(self, cost: float, now: float) -> float:
        return 0.0

    def time_until_free(self, cost: float, max_fill: float, now: float) -> float:
        return 0.0

    def reserve(self, cost: float, now: float) -> None:
        return

    def adjust(self, difference: float, now: float) -> None:
        return

    def actual_cost(self, usage: Usage) -> float | None:
        return 0.0

    def observe_refusal(self, now: float) -> None:
        return

    def observe_headers(self, headroom: Headroom, now: float) -> None:
        return

    def add_remote_charges(self, cost: float, calls: float, now: float) -> None:
        return

    def undrained_levels(self, now: float) -> tuple[float, float]:
        return 0.0, 0.0

    def set_share(self, share: float, now: float) -> None:
        return


def capacity_model_for(capacity: Capacity | None, now: float) -> CapacityModel:
    """The model of a capacity."""
    if isinstance(capacity, ReservedThroughput):
        return ReservedCapacity(capacity, now)
    return QuotaCapacity(capacity, now) if capacity is not None else UnlimitedCapacity()


def _per_minute_bucket(count: int | None, window_s: float, now: float) -> TokenBucket:
    if count is None:
        return TokenBucket(math.inf, math.inf, now)
    return TokenBucket(count / 60, max(1.0, count * window_s / 60), now)
