"""The trace of a call: W3C Trace Context, https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import random
import re
from contextvars import ContextVar

from msgspec import Struct

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class Trace(Struct):
    """Ids in lower-case hex: 32 digits for the trace, 16 for the caller's span ("" if none)."""

    trace_id: str
    parent_id: str = ""
    sampled: bool = False
    _span_id: str = ""

    @property
    def span_id(self) -> str:
        """The id of hamlet's own span, generated on first use."""
        if not self._span_id:
            self._span_id = _random_hex(16)
        return self._span_id

    @property
    def traceparent(self) -> str:
        """The `traceparent` header for upstreams."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


_current: ContextVar[Trace | None] = ContextVar("hamlet_trace", default=None)


def start_trace(traceparent: str | None) -> Trace:
    """Continue the caller's trace in this task, or start one if the header is no valid one."""
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
    # Ids are not secret; a cryptographic generator would cost a system call each.
    return f"{random.getrandbits(4 * digits) or 1:0{digits}x}"


def _parse_traceparent(header: str) -> Trace | None:
    match = _TRACEPARENT.match(header.strip())
    if match is None:
        return None
    version, trace, parent, flags, extra = match.groups()
    # Later versions may have more fields; version 00 must not, and ff is invalid.
    if version == "ff" or (version == "00" and extra):
        return None
    if not (trace.strip("0") and parent.strip("0")):
        return None
    return Trace(trace, parent, bool(int(flags, 16) & 1))
