"""The trace a call belongs to, after W3C Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import random
import re
from contextvars import ContextVar

from msgspec import Struct

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class Trace(Struct):
    """Ids in lower-case hex: 32 digits of the trace, 16 of the caller's span ("" if none)."""

    trace_id: str
    parent_id: str = ""
    sampled: bool = False
    _span_id: str = ""

    @property
    def span_id(self) -> str:
        """The id of hamlet's own span, drawn when it is first asked for."""
        if not self._span_id:
            self._span_id = _random_hex(16)
        return self._span_id

    @property
    def traceparent(self) -> str:
        """The `traceparent` for whoever is asked next."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


_current: ContextVar[Trace | None] = ContextVar("hamlet_trace", default=None)


def start_trace(traceparent: str | None) -> Trace:
    """Continue the caller's trace in this task; a new one if the header is missing or invalid."""
    trace = _parse_traceparent(traceparent) if traceparent else None
    trace = trace or Trace(_random_hex(32))
    _current.set(trace)
    return trace


def current_trace() -> Trace | None:
    """The trace of this task."""
    return _current.get()


def current_trace_id() -> str:
    """The id of this task's trace; "" if it has none."""
    trace = _current.get()
    return trace.trace_id if trace is not None else ""


def _random_hex(digits: int) -> str:
    # Ids are no secrets: what makes keys would be a call of the system for each.
    return f"{random.getrandbits(4 * digits) or 1:0{digits}x}"


def _parse_traceparent(header: str) -> Trace | None:
    match = _TRACEPARENT.match(header.strip())
    if match is None:
        return None
    version, trace, parent, flags, extra = match.groups()
    # Later versions may say more; version 00 must not, and ff is none.
    if version == "ff" or (version == "00" and extra):
        return None
    if not (trace.strip("0") and parent.strip("0")):
        return None
    return Trace(trace, parent, bool(int(flags, 16) & 1))
