"""Run state per deployment: cooldown, failures, slots. Keyed by id, so it outlives a reload."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.registry.model import Deployment

FAILURES_TO_EJECT = 3
_EJECT_BASE_S, _EJECT_MAX_S = 10.0, 300.0
_THROTTLE_BASE_S, _THROTTLE_MAX_S = 1.0, 30.0
# Faults of configuration or money do not heal by themselves within a request's life.
_EJECT_AT_ONCE_S: dict[type[ProviderError], float] = {
    errors.UpstreamAuth: 300.0,
    errors.ModelMissing: 300.0,
    errors.QuotaExhausted: 900.0,
}


@dataclass(slots=True)
class State:
    """One deployment now. Times are monotonic seconds."""

    out_until: float = 0.0
    failures: int = 0
    throttles: int = 0
    in_flight: int = 0


class Health:
    """Learns from every attempt which deployments to leave alone, and for how long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: defaultdict[str, State] = defaultdict(State)

    def usable(self, deployment: Deployment) -> bool:
        """Whether it is neither out nor full."""
        state = self._states[deployment.id]
        full = deployment.max_in_flight is not None and state.in_flight >= deployment.max_in_flight
        return not full and state.out_until <= self._clock()

    def back_in(self, deployment: Deployment) -> float:
        """Seconds until it may be asked again; 0 if it may be now."""
        return max(0.0, self._states[deployment.id].out_until - self._clock())

    def acquire(self, deployment: Deployment) -> None:
        """Take a slot."""
        self._states[deployment.id].in_flight += 1

    def release(self, deployment: Deployment) -> None:
        """Give the slot back."""
        self._states[deployment.id].in_flight -= 1

    def in_flight(self, deployment: Deployment) -> int:
        """Slots taken now."""
        return self._states[deployment.id].in_flight

    def succeeded(self, deployment: Deployment) -> None:
        """An attempt committed."""
        state = self._states[deployment.id]
        state.failures = state.throttles = 0

    def failed(self, deployment: Deployment, error: ProviderError) -> None:
        """An attempt failed: cool down, count, or eject, as the error's verdict says."""
        state = self._states[deployment.id]
        # A cooldown never shortens: the longer of two waits is the true one.
        state.out_until = max(state.out_until, self._clock() + self._out_for(state, error))

    def _out_for(self, state: State, error: ProviderError) -> float:
        if isinstance(error, (errors.RateLimited, errors.Overloaded)):
            state.throttles += 1
            backoff = min(_THROTTLE_MAX_S, _THROTTLE_BASE_S * 2 ** (state.throttles - 1))
            return error.retry_after or backoff
        if type(error) in _EJECT_AT_ONCE_S:
            longest = _EJECT_AT_ONCE_S[type(error)]
            return min(error.retry_after or longest, longest)
        if not error.unhealthy:
            return 0.0
        state.failures += 1
        over = state.failures - FAILURES_TO_EJECT
        return min(_EJECT_MAX_S, _EJECT_BASE_S * 2**over) if over >= 0 else 0.0
