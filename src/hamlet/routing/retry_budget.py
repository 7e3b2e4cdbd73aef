"""Retries cost: a route earns them by its calls, so that they cannot drown what is already down."""

from __future__ import annotations

_CAP = 20.0
_LEAST, _SHARE = 3.0, 0.2


class RetryBudget:
    """One route's. Each call earns `ratio`; a retry or hedge costs 1.

    Two guards, as in gRPC's A6 and Envoy's retry budget: the rate of retries follows that of
    calls, and retries under way stay below a fifth of the calls under way (three at least).
    """

    def __init__(self, ratio: float, cap: float = _CAP) -> None:
        self._ratio = ratio
        self._cap = self._tokens = cap
        self.in_flight = 0
        self.retrying = 0

    @property
    def share_left(self) -> float:
        """The part of the budget that is left."""
        return self._tokens / self._cap

    def enter(self) -> None:
        """A call begins."""
        earned = self._tokens + self._ratio
        self._tokens = earned if earned < self._cap else self._cap
        self.in_flight += 1

    def leave(self) -> None:
        """A call ends."""
        self.in_flight -= 1

    def take(self) -> bool:
        """Whether a retry may begin; pair with `done` when it has ended."""
        if self._tokens < 1 or self.retrying >= max(_LEAST, _SHARE * self.in_flight):
            return False
        self._tokens -= 1
        self.retrying += 1
        return True

    def done(self) -> None:
        """A retry has ended."""
        self.retrying -= 1
