"""What the gateway tells of its work, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hamlet.core import FinishReason, Usage
from hamlet.core.errors import HamletError, ProviderError
from hamlet.registry.model import Deployment
from hamlet.spi import Log

Operation = Literal["chat", "embeddings", "probe"]
Outcome = Literal["ok", "error", "rejected", "cancelled"]


@dataclass(slots=True)
class Attempt:
    """One upstream call, up to its commit or failure. Seconds."""

    deployment: Deployment
    started: float
    duration_s: float = 0.0
    error: ProviderError | None = None
    cancelled: bool = False


@dataclass(slots=True)
class Record:
    """One call from admission to its end; filled in as it goes. Seconds, monotonic start."""

    operation: Operation
    route: str
    caller: str
    request_id: str
    stream: bool
    started: float
    dialect: str | None = None
    admitted: bool = False
    attempts: int = 0
    deployment: Deployment | None = None
    native: bool = False
    warnings: tuple[str, ...] = ()
    first_token_s: float | None = None
    duration_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    finish: FinishReason | None = None
    outcome: Outcome = "ok"
    error: HamletError | None = None


class Observer(Protocol):
    """Sees every call. Must not block; what it raises is logged and goes no further."""

    def on_start(self, record: Record) -> None:
        """A call was admitted."""
        ...

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        """An attempt committed or failed."""
        ...

    def on_end(self, record: Record) -> None:
        """The call ended, in whatever way; once per call, admitted or not."""
        ...


class Observers:
    """Several observers as one that never raises."""

    def __init__(self, observers: Sequence[Observer], log: Log) -> None:
        self._observers = tuple(observers)
        self._log = log

    def on_start(self, record: Record) -> None:
        self._tell("on_start", record)

    def on_attempt(self, record: Record, attempt: Attempt) -> None:
        self._tell("on_attempt", record, attempt)

    def on_end(self, record: Record) -> None:
        self._tell("on_end", record)

    def _tell(self, method: str, *args: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, method)(*args)
            except Exception as error:
                self._log.error(
                    "observer.failed",
                    observer=type(observer).__name__,
                    method=method,
                    error=type(error).__name__,
                )
