"""What the host provides to an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hamlet.spi.http import Transport
from hamlet.spi.settings import ProviderSettings


class Log(Protocol):
    """A structured logger: an event name and its fields, never prompt text or secrets."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Runtime(Protocol):
    """The host's side of the contract. The host owns the pool and closes it."""

    @property
    def log(self) -> Log:
        """The log, for operators."""
        ...

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        """A pooled transport for `settings.base_url`; opens no connection before the first call."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...
