"""The grammar of a chat stream, as an assertion."""

from __future__ import annotations

from collections.abc import Sequence

from hamlet.core import (
    ChatEvent,
    Delta,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
)


def assert_valid_stream(events: Sequence[ChatEvent]) -> None:
    """Started, (delta of index 0)*, (delta of index 1)*, ..., Finished.

    Indexes grow by one and do not interleave, a part keeps its kind, and the first delta of a tool
    call has id and name. The message names the event's position and the rule it breaks.
    """
    _check(bool(events), 0, "a stream has events")
    _check(isinstance(events[0], Started), 0, "a stream begins with Started")
    last = len(events) - 1
    _check(isinstance(events[-1], Finished), last, "a stream ends with Finished")
    index, kind = -1, ""
    for i, event in enumerate(events[1:-1], 1):
        _check(isinstance(event, Delta), i, "between start and end there are only deltas")
        assert isinstance(event, (TextDelta, ReasoningDelta, ToolCallDelta))
        if event.index != index:
            _check(event.index == index + 1, i, f"index {index + 1} comes next, not {event.index}")
            index, kind = event.index, type(event).__name__
            named = not isinstance(event, ToolCallDelta) or bool(event.id and event.name)
            _check(named, i, "the first delta of a tool call has id and name")
        _check(type(event).__name__ == kind, i, f"part {index} is of {kind} only")


def _check(condition: bool, position: int, rule: str) -> None:
    assert condition, f"event {position}: {rule}"
