"""The requests that every adapter must encode, and the answers that it must decode."""

from __future__ import annotations

from collections.abc import Mapping

from hamlet.core import (
    ChatParams,
    ChatRequest,
    ChatResponse,
    Feature,
    FinishReason,
    Image,
    Message,
    NamedTool,
    Output,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "The weather in a city", SCHEMA)


def chat_request(text: str = "Hello", model: str = "model-1", stream: bool = False) -> ChatRequest:
    """A request with one user message."""
    return ChatRequest(model, (Message("user", (Text(text),)),), stream=stream)


def _chat_case(*messages: Message, **options: object) -> ChatRequest:
    return ChatRequest("model-1", messages, **options)  # type: ignore[arg-type]


_USER = Message("user", (Text("Hello"),))
CASES: Mapping[str, ChatRequest] = {
    "text": _chat_case(Message("system", (Text("Be brief."),)), _USER),
    "params": _chat_case(
        _USER, params=ChatParams(max_tokens=50, temperature=0.5, top_p=0.9, stop=("END",))
    ),
    "tools": _chat_case(_USER, tools=(WEATHER,), tool_choice=NamedTool("weather")),
    "tool_round_trip": _chat_case(
        _USER,
        Message("assistant", (ToolCall("call_1", "weather", '{"city":"Seoul"}'),)),
        Message("tool", (ToolResult("call_1", (Text("sunny"),)),)),
        tools=(WEATHER,),
    ),
    "schema": _chat_case(_USER, output=Output("schema", "city", SCHEMA)),
    "image": _chat_case(
        Message("user", (Text("What is this?"), Image(data=PIXEL, media_type="image/png")))
    ),
    "extra": _chat_case(_USER, params=ChatParams(extra={"vendor_knob": {"deep": [1, None]}})),
}

_USAGE = Usage(input_tokens=12, output_tokens=7)


def chat_response(
    *parts: Text | Reasoning | ToolCall,
    reason: FinishReason = FinishReason.STOP,
    usage: Usage = _USAGE,
) -> ChatResponse:
    """A canonical response."""
    return ChatResponse("answer-1", "model-1", parts, reason, usage)


_SEOUL = ToolCall("call_1", "weather", '{"city":"Seoul"}')
_TOKYO = ToolCall("call_2", "weather", '{"city":"東京"}')
ANSWERS: Mapping[str, tuple[ChatResponse, Feature | None]] = {
    "text": (chat_response(Text("Hello, world.")), None),
    "multibyte": (chat_response(Text("안녕하세요 🌏 こんにちは — naïve")), None),
    "one tool call": (chat_response(_SEOUL, reason=FinishReason.TOOL_CALLS), Feature.TOOLS),
    "text, then two tool calls": (
        chat_response(Text("Let me see."), _SEOUL, _TOKYO, reason=FinishReason.TOOL_CALLS),
        Feature.TOOLS,
    ),
    "a call without arguments": (
        chat_response(ToolCall("call_1", "now", "{}"), reason=FinishReason.TOOL_CALLS),
        Feature.TOOLS,
    ),
    "reasoning, then text": (chat_response(Reasoning("Hm. 음."), Text("Yes.")), Feature.REASONING),
    "cached input": (
        chat_response(
            Text("Hi."), usage=Usage(input_tokens=100, output_tokens=1, cache_read_tokens=80)
        ),
        None,
    ),
}
