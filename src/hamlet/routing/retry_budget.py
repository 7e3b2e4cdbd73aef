"""Retry budgets: a route's calls earn its retries, so that retries cannot amplify an outage."""

from __future__ import annotations

_MAX_BALANCE = 20.0
_MIN_CONCURRENT_RETRIES, _MAX_RETRY_RATIO = 3.0, 0.2


class RetryBudget:
    """The budget of one route. Each call earns `ratio`; a retry or hedge costs 1.

    Two limits: the rate of retries follows that of calls (gRPC's retry throttling), and retries in
    flight stay below a fifth of the calls in flight, or three (Envoy's retry budget).
    https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs
    https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto
    """

    def __init__(self, ratio: float, max_balance: float = _MAX_BALANCE) -> None:
        self._ratio = ratio
        self._max_balance = self._balance = max_balance
        self.in_flight = 0
        self.retries_in_flight = 0

    @property
    def remaining_ratio(self) -> float:
        """The part of the budget that is left, 0 to 1."""
        return self._balance / self._max_balance

    def start_call(self) -> None:
        """A call starts."""
        earned = self._balance + self._ratio
        self._balance = earned if earned < self._max_balance else self._max_balance
        self.in_flight += 1

    def end_call(self) -> None:
        """A call has ended."""
        self.in_flight -= 1

    def try_start_retry(self) -> bool:
        """Whether a retry may start; if so, pair with `end_retry`."""
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
