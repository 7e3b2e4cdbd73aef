"""Requests to OpenAI."""

from hamlet.core import (
    Audio,
    ChatParams,
    ChatRequest,
    Document,
    Image,
    Message,
    Output,
    Text,
    Tool,
    ToolResult,
)
from hamlet.providers.openai import encode as openai_encode


def test_every_supported_part_is_encoded() -> None:
    parts = (Text("a"), Audio("d", "wav"), Document("d", "application/pdf", name="f"))
    shown = Message("tool", (ToolResult("c", (Text("t"), Image(url="https://x"))),))
    request = ChatRequest(
        "m",
        (Message("user", parts, name="kim"), shown),
        tools=(Tool("f", strict=True),),
        output=Output("json"),
    )
    sent = openai_encode.encode_request(request, "max_tokens", "openai")
    assert [part["type"] for part in sent["messages"][0]["content"]] == [
        "text",
        "input_audio",
        "file",
    ]
    assert sent["messages"][0]["name"] == "kim"
    assert [m["role"] for m in sent["messages"][1:]] == ["tool", "user"]
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["tools"][0]["function"]["strict"] is True


def test_verbosity_is_sent_under_its_own_name() -> None:
    request = ChatRequest("m", (Message("user", ()),), params=ChatParams(verbosity="low"))
    assert openai_encode.encode_request(request, "max_tokens", "openai")["verbosity"] == "low"
