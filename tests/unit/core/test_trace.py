"""W3C Trace Context of a call."""

import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from hamlet.core.trace import Trace, current_trace, current_trace_id, start_trace

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def in_new_context(action: Callable[[], Any]) -> Any:
    return contextvars.copy_context().run(action)


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE_ID}-{SPAN_ID}-01", True),
        (f" 00-{TRACE_ID}-{SPAN_ID}-00 ", False),
        (f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later", True),
    ],
)
def test_valid_header_continues_the_trace(header: str, sampled: bool) -> None:
    def action() -> tuple[Trace, Trace | None, str]:
        return start_trace(header), current_trace(), current_trace_id()

    trace, current, trace_id = in_new_context(action)
    assert trace is current
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE_ID, SPAN_ID, sampled)
    assert trace_id == TRACE_ID
    assert trace.span_id == trace.span_id != SPAN_ID
    assert trace.traceparent == f"00-{TRACE_ID}-{trace.span_id}-{sampled:02x}"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "soon",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    ],
)
def test_invalid_header_starts_a_new_trace(header: str | None) -> None:
    trace = in_new_context(lambda: start_trace(header))
    assert trace.trace_id != TRACE_ID
    assert len(trace.trace_id) == 32
    assert (trace.parent_id, trace.sampled) == ("", False)


def test_without_a_call_there_is_no_trace() -> None:
    assert contextvars.Context().run(current_trace) is None
    assert contextvars.Context().run(current_trace_id) == ""
