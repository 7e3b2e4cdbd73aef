"""Requests to Anthropic."""

import pytest

from hamlet.core import (
    Audio,
    ChatParams,
    ChatRequest,
    Document,
    Image,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    errors,
)
from hamlet.providers.anthropic import encode as anthropic_encode
from hamlet.testing.cases import WEATHER


def test_turns_are_merged_and_signatures_kept() -> None:
    signed = Reasoning("hm", {"anthropic": {"signature": "s"}})
    hidden = Reasoning("", {"anthropic": {"redacted": "r"}})
    request = ChatRequest(
        "m",
        (
            Message("system", (Text("one"),)),
            Message("system", (Text("two"),)),
            Message("assistant", (signed, hidden, Reasoning("unsigned"), Text(""))),
            Message("tool", (ToolResult("a", (), is_error=True),)),
            Message("tool", (ToolResult("b", (Image(url="https://x"),)),)),
            Message("user", (Document("d", "application/pdf", name="f"),)),
        ),
        tools=(WEATHER,),
        params=ChatParams(
            parallel_tool_calls=False, reasoning_tokens=2000, user="u", reasoning_effort="high"
        ),
    )
    sent = anthropic_encode.encode_request(request, 10)
    assert [block["text"] for block in sent["system"]] == ["one", "two"]
    assert [turn["role"] for turn in sent["messages"]] == ["assistant", "user"]
    assert [b["type"] for b in sent["messages"][0]["content"]] == ["thinking", "redacted_thinking"]
    kinds = [b["type"] for b in sent["messages"][1]["content"]]
    assert kinds == ["tool_result", "tool_result", "document"]
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert sent["metadata"] == {"user_id": "u"}
    assert sent["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    "part", [Audio("d", "wav"), ToolCall("c", "f", "not json"), ToolCall("c", "f", "[1]")]
)
def test_unsupported_parts_are_rejected(part) -> None:
    with pytest.raises(errors.InvalidRequest):
        anthropic_encode.encode_request(ChatRequest("m", (Message("user", (part,)),)), 10)
