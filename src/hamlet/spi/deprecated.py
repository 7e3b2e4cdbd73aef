"""Public names of `hamlet.spi` that have changed. The old ones work for one more release."""

from __future__ import annotations

from hamlet.core.deprecation import warn_renamed
from hamlet.net.timers.timeouts import IdleTimeout
from hamlet.spi.http import parse_positive_int
from hamlet.spi.sse import require_event_stream


class Watchdog(IdleTimeout):
    """The old name of IdleTimeout, with the old name of `reset`."""

    __slots__ = ()

    def fed(self) -> None:
        self.reset()


_RENAMED: dict[str, tuple[str, object]] = {
    "Watchdog": ("IdleTimeout, with `reset` for `fed`", Watchdog),
    "counted": ("parse_positive_int", parse_positive_int),
    "need_events": ("require_event_stream", require_event_stream),
}


def resolve(name: str) -> object:
    """The object that `hamlet.spi` exported by an old name; warns. Raises AttributeError."""
    if name not in _RENAMED:
        raise AttributeError(f"module 'hamlet.spi' has no attribute {name!r}")
    new, value = _RENAMED[name]
    warn_renamed(f"hamlet.spi.{name}", new, stacklevel=4)
    return value
