"""Retries cost: a route earns them by its calls, so that they cannot drown what is already down."""

from __future__ import annotations

_MAX_BALANCE = 20.0
_MIN_CONCURRENT_RETRIES, _MAX_RETRY_RATIO = 3.0, 0.2


class RetryBudget:
    """One route's. Each call earns `ratio`; a retry or hedge costs 1.

    Two guards, as in gRPC's A6 and Envoy's retry budget: the rate of retries follows that of
    calls, and retries under way stay below a fifth of the calls under way (three at least).
    """

    def __init__(self, ratio: float, max_balance: float = _MAX_BALANCE) -> None:
        self._ratio = ratio
        self._max_balance = self._balance = max_balance
        self.in_flight = 0
        self.retries_in_flight = 0

    @property
    def remaining_ratio(self) -> float:
        """The part of the budget that is left."""
        return self._balance / self._max_balance

    def start_call(self) -> None:
        """A call begins."""
        earned = self._balance + self._ratio
        self._balance = earned if earned < self._max_balance else self._max_balance
        self.in_flight += 1

    def end_call(self) -> None:
        """A call ends."""
        self.in_flight -= 1

    def try_start_retry(self) -> bool:
        """Whether a retry may begin; pair with `done` when it has ended."""
        if self._balance < 1 or self.retries_in_flight >= max(
            _MIN_CONCURRENT_RETRIES, _MAX_RETRY_RATIO * self.in_flight
        ):
            return False
        self._balance -= 1
        self.retries_in_flight += 1
        return True

    def end_retry(self) -> None:
        """A retry has ended."""
        self.retries_in_flight -= 1
