"""The truth of admission: what a deployment takes, and how long it makes others wait.

Provisioned throughput, as Microsoft describes it: utilisation rises by the expected cost of a
request when it is let in, is corrected to the actual cost when it ends, falls at a constant rate,
and at 100 % requests are refused with the wait until it is below:
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/provisioned-throughput
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hamlet.simulator.spec import Capacity, Payg, Ptu

_SHORTEST_WAIT_S = 0.001


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request asks for: tokens of prompt, of it cached, and the output limit if any."""

    prompt: int
    cached: int = 0
    max_output: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not now: seconds to wait, and which limit it was."""

    wait_s: float
    limit: str


class Bucket(Protocol):
    """Admits requests against a capacity. Times are seconds of one clock."""

    def admit(self, cost: Cost, now: float) -> Refusal | Callable[[int, float], None]:
        """A refusal, or what to call once at the end with (output tokens, time)."""
        ...

    def utilisation(self, now: float) -> float:
        """How full it is; 1 is full."""
        ...

    def headers(self, now: float) -> Mapping[str, float]:
        """What is left, by limit: keys `limit-` and `remaining-` with `tokens` or `requests`."""
        ...


class PtuBucket:
    """The leaky bucket of a provisioned deployment."""

    def __init__(self, spec: Ptu) -> None:
        self._spec = spec
        self._level = 0.0
        self._at = 0.0

    def admit(self, cost: Cost, now: float) -> Refusal | Callable[[int, float], None]:
        spec, level = self._spec, self._drain(now)
        if level >= spec.depth:
            wait = (level - spec.depth) / spec.tokens_per_s
            return Refusal(max(wait, _SHORTEST_WAIT_S), "utilisation")
        limit = spec.unstated_output if cost.max_output is None else cost.max_output
        uncached = max(0, cost.prompt - cost.cached)
        charge = uncached + spec.output_weight * limit
        self._level += charge

        def settle(output: int, now: float) -> None:
            actual = uncached + spec.output_weight * output
            self._level = max(0.0, self._drain(now) + actual - charge)

        return settle

    def utilisation(self, now: float) -> float:
        return self._drain(now) / self._spec.depth

    def headers(self, now: float) -> Mapping[str, float]:
        return {}

    def _drain(self, now: float) -> float:
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._level = max(0.0, self._level - elapsed * self._spec.tokens_per_s)
        return self._level


class PaygBucket:
    """A token bucket of a minute's tokens, and requests counted by whole seconds in a window.

    The tokens taken are the estimate, prompt and output limit; vendors do not give any back.
    """

    def __init__(self, spec: Payg) -> None:
        self._spec = spec
        self._tokens = float(spec.tpm or 0)
        self._at = 0.0
        self._seconds: deque[tuple[int, int]] = deque()
        self._requests = 0

    def admit(self, cost: Cost, now: float) -> Refusal | Callable[[int, float], None]:
        spec = self._spec
        self._advance(now)
        limit = spec.unstated_output if cost.max_output is None else cost.max_output
        asked = cost.prompt + limit
        if spec.tpm is not None and asked > self._tokens:
            # One request over the whole quota waits for a full bucket, and is refused again.
            missing = min(asked, spec.tpm) - self._tokens
            return Refusal(max(missing * 60 / spec.tpm, _SHORTEST_WAIT_S), "tokens")
        if spec.rpm is not None and self._requests >= self._window_limit:
            oldest = self._seconds[0][0]
            return Refusal(oldest + spec.window_s - now, "requests")
        self._tokens -= asked if spec.tpm is not None else 0
        self._count(int(now))
        return _nothing

    def utilisation(self, now: float) -> float:
        self._advance(now)
        spec = self._spec
        tokens = 1 - self._tokens / spec.tpm if spec.tpm else 0.0
        requests = self._requests / self._window_limit if spec.rpm else 0.0
        return max(tokens, requests)

    def headers(self, now: float) -> Mapping[str, float]:
        self._advance(now)
        spec = self._spec
        told: dict[str, float] = {}
        if spec.tpm is not None:
            told |= {"limit-tokens": spec.tpm, "remaining-tokens": math.floor(self._tokens)}
        if spec.rpm is not None:
            left = self._window_limit - self._requests
            told |= {"limit-requests": spec.rpm, "remaining-requests": left}
        return told

    @property
    def _window_limit(self) -> int:
        return max(1, (self._spec.rpm or 0) * self._spec.window_s // 60)

    def _count(self, second: int) -> None:
        self._requests += 1
        if self._seconds and self._seconds[-1][0] == second:
            second, count = self._seconds.pop()
            self._seconds.append((second, count + 1))
        else:
            self._seconds.append((second, 1))

    def _advance(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        if self._spec.tpm is not None:
            refill = elapsed * self._spec.tpm / 60
            self._tokens = min(float(self._spec.tpm), self._tokens + refill)
        while self._seconds and self._seconds[0][0] + self._spec.window_s <= now:
            self._requests -= self._seconds.popleft()[1]


class Boundless:
    """No limit."""

    def admit(self, cost: Cost, now: float) -> Refusal | Callable[[int, float], None]:
        return _nothing

    def utilisation(self, now: float) -> float:
        return 0.0

    def headers(self, now: float) -> Mapping[str, float]:
        return {}


def bucket_of(capacity: Capacity | None) -> Bucket:
    """The bucket that a capacity means."""
    if capacity is None:
        return Boundless()
    return PtuBucket(capacity) if isinstance(capacity, Ptu) else PaygBucket(capacity)


def _nothing(output: int, now: float) -> None:
    return
