"""What brackets a call and each of its attempts: what is held, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from hamlet.core import Usage
from hamlet.core.errors import ProviderError, UpstreamProtocol, UpstreamTimeout
from hamlet.gateway.admission import Admission
from hamlet.gateway.call import Caller
from hamlet.gateway.observers import Attempt, Observers, Record
from hamlet.registry.holder import Lease
from hamlet.routing import Booking, Fleet, Traffic

_NOTHING = Usage(0, 0)


class Held:
    """What a call holds until it ends: its registry, its place, its part of the route's budget."""

    __slots__ = ("_admission", "_caller", "_lease", "placed", "traffic")

    def __init__(self, lease: Lease, admission: Admission, caller: Caller) -> None:
        self._lease: Lease | None = lease
        self._admission, self._caller = admission, caller
        self.placed = False
        self.traffic: Traffic | None = None

    def join(self, traffic: Traffic) -> Traffic:
        """Be one of the route's calls."""
        traffic.budget.enter()
        self.traffic = traffic
        return traffic

    def close(self) -> None:
        """Give everything back. May be called twice."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if self.traffic is not None:
            self.traffic.budget.leave()
        if self.placed:
            self._admission.leave(self._caller)
        lease.release()


class Attempting:
    """One attempt: its verdict, and foreign exceptions turned into our family.

    Use as `with Attempting(...) as attempt:`. A failure is judged as the block ends; of a success
    say `passed()`, and settle its booking. A class, as every call goes through it: a generator
    would cost three times as much.
    """

    __slots__ = ("_attempt", "_booking", "_clock", "_fleet", "_observers", "_record")

    def __init__(
        self,
        fleet: Fleet,
        observers: Observers,
        record: Record,
        booking: Booking,
        *,
        hedge: bool = False,
    ) -> None:
        deployment = booking.member.deployment
        self._fleet, self._observers = fleet, observers
        self._record, self._booking = record, booking
        self._clock: Callable[[], float] = fleet.clock
        self._attempt = Attempt(deployment, self._clock(), tier=booking.tier)
        self._attempt.way = record.way_to(deployment, hedge)

    def __enter__(self) -> Attempting:
        record, booking = self._record, self._booking
        record.attempts += 1
        record.deployment, record.tier = booking.member.deployment, booking.tier
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self._attempt
        attempt.duration_s = self._clock() - attempt.started
        if error is None:
            return
        if isinstance(error, ProviderError):
            attempt.error = error
        elif isinstance(error, Exception):
            attempt.error = UpstreamProtocol(f"the adapter failed: {type(error).__name__}")
            attempt.error.__cause__ = error
        else:
            attempt.cancelled = True
            self._fleet.cancelled(self._booking)
        if attempt.error is not None:
            self._failed(attempt, attempt.error)
        self._observers.on_attempt(self._record, attempt)
        if attempt.error is not None and attempt.error is not error:
            raise attempt.error

    def passed(self, tokens: float | None = None) -> None:
        """It has committed. `tokens` is what a whole answer turned out to have."""
        self._fleet.succeeded(self._booking, tokens)
        self._observers.on_attempt(self._record, self._attempt)

    def _failed(self, attempt: Attempt, error: ProviderError) -> None:
        self._record.failed = attempt
        error.deployment = attempt.deployment.id
        self._fleet.failed(self._booking, error)
        self._fleet.settle(self._booking, None if _was_taken_in(error) else _NOTHING)


def _was_taken_in(error: ProviderError) -> bool:
    """Whether the upstream had begun to work: then the prompt is charged."""
    return isinstance(error, UpstreamTimeout) and error.phase != "connect"
