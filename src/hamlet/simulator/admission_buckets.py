"""Admission to a simulated deployment: which requests it accepts, and the wait of the others.

Provisioned throughput, as Microsoft describes it: utilisation rises by the expected cost of a
request at its admission, is corrected to the actual cost at its end, and falls at a constant rate.
At 100 % requests are refused with the time until it is below:
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/provisioned-throughput
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hamlet.simulator.spec import Capacity, Payg, Ptu

_MIN_WAIT_S = 0.001


@dataclass(frozen=True, slots=True)
class TokenDemand:
    """The tokens of a request: prompt, cached part of the prompt, and the output limit if any."""

    prompt_tokens: int
    cached_tokens: int = 0
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: seconds to wait, and the limit that was reached."""

    wait_s: float
    limit: str


class Bucket(Protocol):
    """Admits requests within a capacity. Times are seconds of one clock."""

    def admit(self, demand: TokenDemand, now: float) -> Refusal | Callable[[int, float], None]:
        """A refusal, or a settlement to call once at the end with (output tokens, time)."""
        ...

    def utilisation(self, now: float) -> float:
        """Used share of the capacity; 1 is full."""
        ...

    def rate_limits(self, now: float) -> Mapping[str, float]:
        """Amounts by key: `limit-` and `remaining-`, each with `tokens` or `requests`."""
        ...


class PtuBucket:
    """The leaky bucket of a provisioned deployment."""

    def __init__(self, spec: Ptu) -> None:
        self._spec = spec
        self._level_tokens = 0.0
        self._updated_at = 0.0

    def admit(self, demand: TokenDemand, now: float) -> Refusal | Callable[[int, float], None]:
        spec, level = self._spec, self._drain(now)
        if level >= spec.depth_tokens:
            wait = (level - spec.depth_tokens) / spec.tokens_per_s
            return Refusal(max(wait, _MIN_WAIT_S), "utilisation")
        limit = (
            spec.default_output_tokens
            if demand.max_output_tokens is None
            else demand.max_output_tokens
        )
        uncached = max(0, demand.prompt_tokens - demand.cached_tokens)
        charge = uncached + spec.output_weight * limit
        self._level_tokens += charge

        def settle(output: int, now: float) -> None:
            actual = uncached + spec.output_weight * output
            self._level_tokens = max(0.0, self._drain(now) + actual - charge)

        return settle

    def utilisation(self, now: float) -> float:
        return self._drain(now) / self._spec.depth_tokens

    def rate_limits(self, now: float) -> Mapping[str, float]:
        return {}

    def _drain(self, now: float) -> float:
        elapsed = max(0.0, now - self._updated_at)
        self._updated_at = max(self._updated_at, now)
        self._level_tokens = max(0.0, self._level_tokens - elapsed * self._spec.tokens_per_s)
        return self._level_tokens


class PaygBucket:
    """A token bucket of one minute's tokens, and a sliding window of requests per second.

    A request takes its prompt and output limit; vendors do not return what it did not use.
    """

    def __init__(self, spec: Payg) -> None:
        self._spec = spec
        self._available_tokens = float(spec.tpm or 0)
        self._updated_at = 0.0
        self._requests_by_second: deque[tuple[int, int]] = deque()
        self._requests_in_window = 0

    def admit(self, demand: TokenDemand, now: float) -> Refusal | Callable[[int, float], None]:
        spec = self._spec
        self._refill(now)
        limit = (
            spec.default_output_tokens
            if demand.max_output_tokens is None
            else demand.max_output_tokens
        )
        requested_tokens = demand.prompt_tokens + limit
        if spec.tpm is not None and requested_tokens > self._available_tokens:
            # A request above the whole quota waits for a full bucket and is refused again.
            shortfall = min(requested_tokens, spec.tpm) - self._available_tokens
            return Refusal(max(shortfall * 60 / spec.tpm, _MIN_WAIT_S), "tokens")
        if spec.rpm is not None and self._requests_in_window >= self._window_limit:
            oldest = self._requests_by_second[0][0]
            return Refusal(oldest + spec.window_s - now, "requests")
        self._available_tokens -= requested_tokens if spec.tpm is not None else 0
        self._count_request(int(now))
        return _no_settlement

    def utilisation(self, now: float) -> float:
        self._refill(now)
        spec = self._spec
        tokens = 1 - self._available_tokens / spec.tpm if spec.tpm else 0.0
        requests = self._requests_in_window / self._window_limit if spec.rpm else 0.0
        return max(tokens, requests)

    def rate_limits(self, now: float) -> Mapping[str, float]:
        self._refill(now)
        spec = self._spec
        limits: dict[str, float] = {}
        if spec.tpm is not None:
            limits |= {
                "limit-tokens": spec.tpm,
                "remaining-tokens": math.floor(self._available_tokens),
            }
        if spec.rpm is not None:
            left = self._window_limit - self._requests_in_window
            limits |= {"limit-requests": spec.rpm, "remaining-requests": left}
        return limits

    @property
    def _window_limit(self) -> int:
        return max(1, (self._spec.rpm or 0) * self._spec.window_s // 60)

    def _count_request(self, second: int) -> None:
        self._requests_in_window += 1
        if self._requests_by_second and self._requests_by_second[-1][0] == second:
            second, count = self._requests_by_second.pop()
            self._requests_by_second.append((second, count + 1))
        else:
            self._requests_by_second.append((second, 1))

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._updated_at)
        self._updated_at = max(self._updated_at, now)
        if self._spec.tpm is not None:
            refill = elapsed * self._spec.tpm / 60
            self._available_tokens = min(float(self._spec.tpm), self._available_tokens + refill)
        while (
            self._requests_by_second and self._requests_by_second[0][0] + self._spec.window_s <= now
        ):
            self._requests_in_window -= self._requests_by_second.popleft()[1]


class UnlimitedBucket:
    """No limit."""

    def admit(self, demand: TokenDemand, now: float) -> Refusal | Callable[[int, float], None]:
        return _no_settlement

    def utilisation(self, now: float) -> float:
        return 0.0

    def rate_limits(self, now: float) -> Mapping[str, float]:
        return {}


def bucket_for(capacity: Capacity | None) -> Bucket:
    """The bucket of a capacity."""
    if capacity is None:
        return UnlimitedBucket()
    return PtuBucket(capacity) if isinstance(capacity, Ptu) else PaygBucket(capacity)


def _no_settlement(output: int, now: float) -> None:
    return
