"""What the gateway reports of each call, and the observers that it reports to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct, field

from hamlet.core import FinishReason, Usage
from hamlet.core.errors import HamletError, ProviderError, RateLimited
from hamlet.registry.model import Deployment
from hamlet.spi import Log

Operation = Literal["chat", "embeddings", "probe"]
CallOutcome = Literal["ok", "error", "rejected", "cancelled"]


AttemptReason = Literal["first", "retry", "failover", "spill", "hedge"]


class Attempt(Struct):
    """One upstream call, up to its commit or failure. Times in seconds; `tier` counts from 0.

    `reason` says why it was made: the first attempt, a retry on the same deployment, a failover to
    another, a spill after a 429, or a hedge of a late attempt.
    """

    deployment: Deployment
    started_at: float
    duration_s: float = 0.0
    error: ProviderError | None = None
    cancelled: bool = False
    tier: int = 0
    reason: AttemptReason = "first"


class CallRecord(Struct):
    """One call from its arrival to its end, filled in along the way.

    Times in seconds, `started_at` on the monotonic clock. `deployment` and its `tier`, from 0, are
    those of the latest attempt, in the end those of the response; `last_failure` is the latest
    attempt that failed.
    """

    operation: Operation
    route: str
    caller: str
    request_id: str
    stream: bool
    started_at: float
    dialect: str | None = None
    admitted: bool = False
    attempts: int = 0
    deployment: Deployment | None = None
    native: bool = False
    warnings: tuple[str, ...] = ()
    first_token_s: float | None = None
    duration_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason | None = None
    outcome: CallOutcome = "ok"
    error: HamletError | None = None
    queue_s: float = 0.0
    tier: int = 0
    last_failure: Attempt | None = None
    trace_id: str = ""

    def next_attempt_reason(self, deployment: Deployment, is_hedge: bool) -> AttemptReason:
        """Why the next attempt, on this deployment, is made."""
        if self.attempts == 0:
            return "first"
        if is_hedge:
            return "hedge"
        last_failure = self.last_failure
        if last_failure is not None and isinstance(last_failure.error, RateLimited):
            return "spill"
        return (
            "retry"
            if last_failure is not None and last_failure.deployment.id == deployment.id
            else "failover"
        )


class Observer:
    """Base class of what observes calls. Only overridden methods are called.

    They must not block. An exception is logged and does not reach the call.
    """

    def on_start(self, record: CallRecord) -> None:
        """A call was admitted."""

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        """An attempt committed or failed."""

    def on_end(self, record: CallRecord) -> None:
        """The call ended: once per call, admitted or not, whatever its outcome."""


class Observers:
    """Several observers as one, which never raises."""

    def __init__(self, observers: Sequence[Observer], log: Log) -> None:
        # Bound once, because the lookups would be repeated nine times per call.
        self._start_handlers: list[Callable[..., None]] = []
        self._attempt_handlers: list[Callable[..., None]] = []
        self._end_handlers: list[Callable[..., None]] = []
        self._log = log
        self.failures = 0
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """Append an observer; it is notified after the others."""
        for handlers, name in (
            (self._start_handlers, "on_start"),
            (self._attempt_handlers, "on_attempt"),
            (self._end_handlers, "on_end"),
        ):
            if getattr(type(observer), name) is not getattr(Observer, name):
                handlers.append(getattr(observer, name))

    def on_start(self, record: CallRecord) -> None:
        self._notify(self._start_handlers, record)

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        self._notify(self._attempt_handlers, record, attempt)

    def on_end(self, record: CallRecord) -> None:
        self._notify(self._end_handlers, record)

    def _notify(self, handlers: Sequence[Callable[..., None]], *args: object) -> None:
        for handler in handlers:
            try:
                handler(*args)
            except Exception as error:
                self.failures += 1
                self._log.error(
                    "observer.failed",
                    observer=type(getattr(handler, "__self__", handler)).__name__,
                    method=getattr(handler, "__name__", ""),
                    error=type(error).__name__,
                )
