"""The features of a request, and the fold of events."""

import pytest

from hamlet.core import (
    Audio,
    ChatParams,
    ChatRequest,
    Document,
    Feature,
    Finished,
    FinishReason,
    Headroom,
    Image,
    Message,
    Output,
    Reasoning,
    ReasoningDelta,
    Started,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    collect,
    is_content,
    with_headroom,
)

END = Finished(FinishReason.STOP, Usage())


async def _collect(*events):
    async def stream():
        for event in events:
            yield event

    return await collect(stream())


async def test_fold_joins_deltas_and_meta() -> None:
    response = await _collect(
        Started("1", "m"),
        ReasoningDelta(0, "hm"),
        ReasoningDelta(0, "", {"v": "signed"}),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
        ToolCallDelta(2, "c1", "f", '{"x"'),
        ToolCallDelta(2, arguments=":1}"),
        END,
    )
    assert response.parts == (
        Reasoning("hm", {"v": "signed"}),
        Text("ab"),
        ToolCall("c1", "f", '{"x":1}'),
    )
    assert response.text == "ab"


async def test_fold_requires_start_and_end() -> None:
    for events in ([Started("1", "m")], [END]):
        with pytest.raises(ValueError, match="no start or no end"):
            await _collect(*events)


def test_what_the_caller_sees_is_content() -> None:
    assert not is_content(Started("1", "m"))
    assert not is_content(TextDelta(0, ""))
    assert is_content(TextDelta(0, "x"))
    assert is_content(ToolCallDelta(0, "i", "n"))
    assert is_content(END)


def test_features_that_a_request_needs() -> None:
    shown = ToolResult("c", (Image(url="https://x"),))
    user = Message("user", (Text("a"), Audio("d", "wav"), Document(url="u")))
    request = ChatRequest(
        "m",
        (user, Message("tool", (shown,))),
        tools=(Tool("f"),),
        output=Output("json"),
        params=ChatParams(n=2),
    )
    assert request.features == {
        Feature.IMAGES,
        Feature.AUDIO,
        Feature.DOCUMENTS,
        Feature.TOOLS,
        Feature.JSON,
        Feature.CHOICES,
    }
    assert ChatRequest("m", (), output=Output("schema")).features == {Feature.JSON_SCHEMA}
    assert user.text == "a"


def test_headroom_goes_with_the_first_event() -> None:
    headroom, started = Headroom(tokens=5), Started("1", "m")
    assert with_headroom(started, headroom) == Started("1", "m", headroom=headroom)
    assert with_headroom(started, None) is started
    assert with_headroom(END, headroom) is END
