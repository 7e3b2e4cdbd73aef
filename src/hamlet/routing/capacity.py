"""A local mirror of each deployment's capacity, so that we know before asking whether it is full.

Reserved capacity as Azure documents it: a call is charged prompt - cached + max_tokens when it is
admitted, corrected to what it used when it ends, and the charge drains at a constant rate.
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/provisioned-throughput
"""

from __future__ import annotations

import math
from typing import Protocol

from hamlet.core import Headroom, Usage
from hamlet.registry import Capacity, Quota, Reserved
from hamlet.routing.cost_estimate import Demand, tokens
from hamlet.routing.token_bucket import LeakyBucket

# The bucket's depth is not published: it is learned within bounds, in seconds of its rate.
DEPTH_START_S, DEPTH_MIN_S, DEPTH_MAX_S = 30.0, 5.0, 120.0
_GROW_EVERY_S = 60.0
# Of a call larger than the bucket only this part must fit: it is admitted all the same.
_LARGEST_SHARE = 0.5
# Quotas of requests are judged over ten seconds, those of tokens over a minute.
_REQUESTS_WINDOW_S, _TOKENS_WINDOW_S = 10.0, 60.0


class Ledger(Protocol):
    """Times are monotonic seconds, costs input-equivalent tokens, fills parts of the capacity."""

    def cost(self, demand: Demand, cached: float = 0.0) -> float:
        """What admitting the call will be charged."""
        ...

    def fill(self, cost: float, now: float) -> float:
        """How full the deployment would be with this cost on top."""
        ...

    def free_in(self, cost: float, limit: float, now: float) -> float:
        """Seconds until the cost fits below `limit`."""
        ...

    def book(self, cost: float, now: float) -> None:
        """Charge an admission."""
        ...

    def correct(self, difference: float, now: float) -> None:
        """Charge what a call cost beyond its booking; a negative difference gives back."""
        ...

    def used(self, usage: Usage) -> float | None:
        """What a call really cost; None if the usage does not tell."""
        ...

    def refused(self, now: float) -> None:
        """The deployment said it is full."""
        ...

    def hint(self, headroom: Headroom, now: float) -> None:
        """Take in what an answer's headers said."""
        ...

    def charge(self, cost: float, calls: float, now: float) -> None:
        """Charge what other processes booked, or corrected."""
        ...

    def levels(self, now: float) -> tuple[float, float]:
        """The cost and the calls that have not drained yet."""
        ...

    def share(self, part: float, now: float) -> None:
        """Have this part of the configured capacity from now on."""
        ...


class ReservedLedger:
    """The leaky bucket of provisioned capacity, with a depth that is learned."""

    def __init__(self, capacity: Reserved, now: float) -> None:
        rate = capacity.tokens_per_s
        self._weight = capacity.output_weight
        self._bucket = LeakyBucket(rate, rate * DEPTH_START_S, now)
        self._quiet_since = now
        self._peak = 0.0
        self._share = 1.0

    @property
    def depth_s(self) -> float:
        """The learned depth."""
        return self._bucket.depth / self._bucket.rate

    def cost(self, demand: Demand, cached: float = 0.0) -> float:
        fresh = max(0.0, demand.input_tokens - cached)
        return fresh + self._weight * demand.output_tokens

    def fill(self, cost: float, now: float) -> float:
        return (self._bucket.level(now) + self._bounded(cost)) / self._bucket.depth

    def free_in(self, cost: float, limit: float, now: float) -> float:
        return self._bucket.free_in(self._bounded(cost), now, limit)

    def book(self, cost: float, now: float) -> None:
        bucket = self._bucket
        self._peak = max(self._peak, bucket.pour(cost, now) / bucket.depth)
        if now - self._quiet_since >= _GROW_EVERY_S:
            # A minute at the brim without a refusal: the bucket is deeper than we thought.
            self._resize(1.02 if self._peak > 0.95 else 1.0)
            self._quiet_since, self._peak = now, 0.0

    def correct(self, difference: float, now: float) -> None:
        self._bucket.pour(difference, now)

    def used(self, usage: Usage) -> float | None:
        read, written = tokens(usage.input_tokens), tokens(usage.output_tokens)
        if read is None or written is None:
            return None
        cached = min(tokens(usage.cache_read_tokens) or 0.0, read)
        return read - cached + self._weight * written

    def refused(self, now: float) -> None:
        if self._bucket.level(now) < 0.8 * self._bucket.depth:
            self._resize(0.9)
        self._bucket.fill_up(now)
        self._quiet_since, self._peak = now, 0.0

    def hint(self, headroom: Headroom, now: float) -> None:
        if headroom.spilled:
            self._bucket.fill_up(now)
        elif headroom.utilisation is not None:
            said = headroom.utilisation * self._bucket.depth
            self._bucket.pour(0.5 * (said - self._bucket.level(now)), now)

    def charge(self, cost: float, calls: float, now: float) -> None:
        self._bucket.pour(cost, now)

    def levels(self, now: float) -> tuple[float, float]:
        return self._bucket.level(now), 0.0

    def share(self, part: float, now: float) -> None:
        self._bucket.scale(part / self._share, now)
        self._share = part

    def _bounded(self, cost: float) -> float:
        return min(cost, _LARGEST_SHARE * self._bucket.depth)

    def _resize(self, factor: float) -> None:
        rate = self._bucket.rate
        depth_s = min(max(self.depth_s * factor, DEPTH_MIN_S), DEPTH_MAX_S)
        self._bucket.depth = rate * depth_s


class QuotaLedger:
    """Tokens and requests a minute. What the vendor says may only lower what we think is left."""

    def __init__(self, capacity: Quota, now: float) -> None:
        self._tokens = _per_minute(capacity.tpm, _TOKENS_WINDOW_S, now)
        self._requests = _per_minute(capacity.rpm, _REQUESTS_WINDOW_S, now)
        self._share = 1.0

    def cost(self, demand: Demand, cached: float = 0.0) -> float:
        # A quota counts cached tokens like any other.
        return demand.input_tokens + demand.output_tokens

    def fill(self, cost: float, now: float) -> float:
        tokens = (self._tokens.level(now) + self._bounded(cost)) / self._tokens.depth
        return max(tokens, (self._requests.level(now) + 1) / self._requests.depth)

    def free_in(self, cost: float, limit: float, now: float) -> float:
        tokens = self._tokens.free_in(self._bounded(cost), now, limit)
        return max(tokens, self._requests.free_in(1, now, limit))

    def book(self, cost: float, now: float) -> None:
        self._tokens.pour(cost, now)
        self._requests.pour(1, now)

    def correct(self, difference: float, now: float) -> None:
        self._tokens.pour(difference, now)

    def used(self, usage: Usage) -> float | None:
        read, written = tokens(usage.input_tokens), tokens(usage.output_tokens)
        return None if read is None or written is None else read + written

    def refused(self, now: float) -> None:
        # Which of the four kinds of refusal it was cannot be told: the cooldown has to do.
        return

    def hint(self, headroom: Headroom, now: float) -> None:
        said = ((self._tokens, headroom.tokens), (self._requests, headroom.requests))
        for bucket, left in said:
            # Zero and negative figures come from stale caches as often as not.
            if left is not None and left > 0 and bucket.depth < math.inf:
                bucket.pour(max(0.0, bucket.depth - left - bucket.level(now)), now)

    def charge(self, cost: float, calls: float, now: float) -> None:
        self._tokens.pour(cost, now)
        self._requests.pour(calls, now)

    def levels(self, now: float) -> tuple[float, float]:
        return self._tokens.level(now), self._requests.level(now)

    def share(self, part: float, now: float) -> None:
        for bucket in (self._tokens, self._requests):
            bucket.scale(part / self._share, now)
        self._share = part

    def _bounded(self, cost: float) -> float:
        return min(cost, _LARGEST_SHARE * self._tokens.depth)


class OpenLedger:
    """Nothing is known: there is always room."""

    def cost(self, demand: Demand, cached: float = 0.0) -> float:
        return 0.0

    def fill(self, cost: float, now: float) -> float:
        return 0.0

    def free_in(self, cost: float, limit: float, now: float) -> float:
        return 0.0

    def book(self, cost: float, now: float) -> None:
        return

    def correct(self, difference: float, now: float) -> None:
        return

    def used(self, usage: Usage) -> float | None:
        return 0.0

    def refused(self, now: float) -> None:
        return

    def hint(self, headroom: Headroom, now: float) -> None:
        return

    def charge(self, cost: float, calls: float, now: float) -> None:
        return

    def levels(self, now: float) -> tuple[float, float]:
        return 0.0, 0.0

    def share(self, part: float, now: float) -> None:
        return


def ledger_for(capacity: Capacity | None, now: float) -> Ledger:
    """The ledger that suits a capacity."""
    if isinstance(capacity, Reserved):
        return ReservedLedger(capacity, now)
    return QuotaLedger(capacity, now) if capacity is not None else OpenLedger()


def _per_minute(count: int | None, window_s: float, now: float) -> LeakyBucket:
    if count is None:
        return LeakyBucket(math.inf, math.inf, now)
    return LeakyBucket(count / 60, max(1.0, count * window_s / 60), now)
