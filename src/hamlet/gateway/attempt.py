"""What brackets a call and each of its attempts: what is held, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from hamlet.core import Usage
from hamlet.core.errors import ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.admission import Admission
from hamlet.gateway.call import Caller
from hamlet.gateway.observers import Attempt, CallRecord, Observers
from hamlet.registry.holder import RegistryLease
from hamlet.routing import LoadBalancer, Reservation, RouteState

_NO_USAGE = Usage(0, 0)


class Held:
    """What a call holds until it ends: its registry, its place, its part of the route's budget."""

    __slots__ = ("_admission", "_caller", "_registry_lease", "has_slot", "route_state")

    def __init__(self, registry_lease: RegistryLease, admission: Admission, caller: Caller) -> None:
        self._registry_lease: RegistryLease | None = registry_lease
        self._admission, self._caller = admission, caller
        self.has_slot = False
        self.route_state: RouteState | None = None

    def bind_route(self, route_state: RouteState) -> RouteState:
        """Be one of the route's calls."""
        route_state.retry_budget.start_call()
        self.route_state = route_state
        return route_state

    def close(self) -> None:
        """Give everything back. May be called twice."""
        registry_lease, self._registry_lease = self._registry_lease, None
        if registry_lease is None:
            return
        if self.route_state is not None:
            self.route_state.retry_budget.end_call()
        if self.has_slot:
            self._admission.release_slot(self._caller)
        registry_lease.release()


class Attempting:
    """One attempt: its verdict, and foreign exceptions turned into our family.

    Use as `with Attempting(...) as attempt:`. A failure is judged as the block ends; of a success
    say `passed()`, and settle its booking. A class, as every call goes through it: a generator
    would cost three times as much.
    """

    __slots__ = ("_attempt", "_clock", "_load_balancer", "_observers", "_record", "_reservation")

    def __init__(
        self,
        load_balancer: LoadBalancer,
        observers: Observers,
        record: CallRecord,
        reservation: Reservation,
        *,
        is_hedge: bool = False,
    ) -> None:
        deployment = reservation.candidate.deployment
        self._load_balancer, self._observers = load_balancer, observers
        self._record, self._reservation = record, reservation
        self._clock: Callable[[], float] = load_balancer.clock
        self._attempt = Attempt(deployment, self._clock(), tier=reservation.tier)
        self._attempt.reason = record.next_attempt_reason(deployment, is_hedge)

    def __enter__(self) -> Attempting:
        record, reservation = self._record, self._reservation
        record.attempts += 1
        record.deployment, record.tier = reservation.candidate.deployment, reservation.tier
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self._attempt
        attempt.duration_s = self._clock() - attempt.started_at
        if error is None:
            return
        if isinstance(error, ProviderError):
            attempt.error = error
        elif isinstance(error, Exception):
            attempt.error = UpstreamProtocol(f"the adapter failed: {type(error).__name__}")
            attempt.error.__cause__ = error
        else:
            attempt.cancelled = True
            self._load_balancer.cancel(self._reservation)
        if attempt.error is not None:
            self._record_failure(attempt, attempt.error)
        self._observers.on_attempt(self._record, attempt)
        if attempt.error is not None and attempt.error is not error:
            raise attempt.error

    def record_success(self, output_tokens: float | None = None) -> None:
        """It has committed. `tokens` is what a whole answer turned out to have."""
        self._load_balancer.record_success(self._reservation, output_tokens)
        self._observers.on_attempt(self._record, self._attempt)

    def _record_failure(self, attempt: Attempt, error: ProviderError) -> None:
        self._record.last_failure = attempt
        error.deployment = attempt.deployment.id
        self._load_balancer.record_failure(self._reservation, error)
        self._load_balancer.settle(
            self._reservation, None if _is_prompt_charged(error) else _NO_USAGE
        )


def _is_prompt_charged(error: ProviderError) -> bool:
    """Whether the upstream had begun to work: then the prompt is charged."""
    return isinstance(error, UpstreamTimeout) and error.phase != "connect"
