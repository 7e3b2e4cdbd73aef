"""The bytes of the built-in vendors, written from their API references."""

import json
from collections.abc import Mapping
from typing import Any

from hamlet.core import ChatRequest, ChatResponse, FinishReason, Reasoning, Text, ToolCall, Usage
from hamlet.testing import Wire
from hamlet.testing.cases import PIXEL, SCHEMA

_USER = {"role": "user", "content": "Hello"}


def split_text(text: str, pieces: int) -> list[str]:
    """`text` in at most `pieces` parts of about equal length."""
    size = max(1, -(-len(text) // pieces))
    return [text[i : i + size] for i in range(0, len(text), size)]


class OpenAIWire(Wire):
    def __init__(self, kind: str, max_tokens: str) -> None:
        self.kind = kind
        self._max_tokens = max_tokens

    def whole(self, answer: ChatResponse) -> bytes:
        calls = [p for p in answer.parts if isinstance(p, ToolCall)]
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if reasoning := "".join(p.text for p in answer.parts if isinstance(p, Reasoning)):
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [_tool_call(call) for call in calls]
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason(answer)}
        body = {"id": answer.id, "object": "chat.completion", "created": 1, "model": answer.model}
        return _dump({**body, "choices": [choice], "usage": _usage(answer.usage)})

    def frames(self, answer: ChatResponse, pieces: int = 3) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        calls = 0
        for part in answer.parts:
            if isinstance(part, Text):
                deltas += [{"content": text} for text in split_text(part.text, pieces)]
            elif isinstance(part, Reasoning):
                deltas += [{"reasoning_content": text} for text in split_text(part.text, pieces)]
            else:
                head = {**_tool_call(part), "index": calls}
                head["function"] = {"name": part.name, "arguments": ""}
                deltas.append({"tool_calls": [head]})
                deltas += [
                    {"tool_calls": [{"index": calls, "function": {"arguments": text}}]}
                    for text in split_text(part.arguments, pieces)
                ]
                calls += 1
        frames = [self._chunk(answer, delta, None) for delta in deltas]
        frames.append(self._chunk(answer, {}, self._finish_reason(answer)))
        last = {**self._chunk_base(answer), "choices": [], "usage": _usage(answer.usage)}
        return [*frames, _sse_data(last), b"data: [DONE]\n\n"]

    def error(self, status: int) -> bytes:
        return _dump({"error": {"message": "went wrong", "type": "x", "code": None}})

    def stream_error(self) -> bytes:
        return _sse_data({"error": {"message": "busy", "type": "server_is_overloaded"}})

    def keepalive(self) -> bytes:
        return b": still here\n\n"

    def reasons(self) -> Mapping[str, FinishReason]:
        return {
            "stop": FinishReason.STOP,
            "length": FinishReason.LENGTH,
            "content_filter": FinishReason.CONTENT_FILTER,
            "something_new": FinishReason.OTHER,
        }

    def golden(self) -> Mapping[str, Any]:
        def body(*messages: Any, **more: Any) -> dict[str, Any]:
            return {"model": self.model, "messages": list(messages), **more}

        function = {"name": "weather", "description": "The weather in a city", "parameters": SCHEMA}
        tools = [{"type": "function", "function": function}]
        call = {"name": "weather", "arguments": '{"city":"Seoul"}'}
        calls = [{"id": "call_1", "type": "function", "function": call}]
        url = {"url": f"data:image/png;base64,{PIXEL}"}
        shown = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": url}]
        schema = {"name": "city", "schema": SCHEMA}
        return {
            "text": body({"role": "system", "content": "Be brief."}, _USER),
            "params": body(
                _USER, temperature=0.5, top_p=0.9, stop=["END"], **{self._max_tokens: 50}
            ),
            "tools": body(
                _USER,
                tools=tools,
                tool_choice={"type": "function", "function": {"name": "weather"}},
            ),
            "tool_round_trip": body(
                _USER,
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                tools=tools,
            ),
            "schema": body(_USER, response_format={"type": "json_schema", "json_schema": schema}),
            "image": body({"role": "user", "content": shown}),
            "extra": body(_USER, vendor_knob={"deep": [1, None]}),
        }

    def native(self, request: ChatRequest) -> Mapping[str, Any]:
        body: dict[str, Any] = {"model": "route", "messages": [_USER]}
        return {**body, "stream": True} if request.stream else body

    def _chunk_base(self, answer: ChatResponse) -> dict[str, Any]:
        kind = "chat.completion.chunk"
        return {"id": answer.id, "object": kind, "created": 1, "model": answer.model}

    def _chunk(self, answer: ChatResponse, delta: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _sse_data({**self._chunk_base(answer), "choices": [choice], "usage": None})

    def _finish_reason(self, answer: ChatResponse) -> str:
        return answer.raw_reason or answer.reason.value


class AnthropicWire(Wire):
    kind = "anthropic"

    def whole(self, answer: ChatResponse) -> bytes:
        return _dump(
            {
                **self._message(answer),
                "content": [_block(part) for part in answer.parts],
                "stop_reason": self._stop_reason(answer),
                "usage": self._usage(answer.usage),
            }
        )

    def frames(self, answer: ChatResponse, pieces: int = 3) -> list[bytes]:
        start = {**self._usage(answer.usage), "output_tokens": 1}
        frames = [_sse_event("message_start", message={**self._message(answer), "usage": start})]
        for i, part in enumerate(answer.parts):
            frames.append(
                _sse_event("content_block_start", index=i, content_block=_empty_block(part))
            )
            frames += [
                _sse_event("content_block_delta", index=i, delta=delta)
                for delta in _deltas(part, pieces)
            ]
            frames.append(_sse_event("content_block_stop", index=i))
        delta = {"stop_reason": self._stop_reason(answer), "stop_sequence": None}
        counts = {"output_tokens": answer.usage.output_tokens}
        return [
            *frames,
            _sse_event("message_delta", delta=delta, usage=counts),
            _sse_event("message_stop"),
        ]

    def error(self, status: int) -> bytes:
        kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        error = {"type": kinds.get(status, "api_error"), "message": "went wrong"}
        return _dump({"type": "error", "error": error})

    def stream_error(self) -> bytes:
        return _sse_event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    def keepalive(self) -> bytes:
        return _sse_event("ping")

    def reasons(self) -> Mapping[str, FinishReason]:
        return {
            "end_turn": FinishReason.STOP,
            "stop_sequence": FinishReason.STOP,
            "max_tokens": FinishReason.LENGTH,
            "model_context_window_exceeded": FinishReason.LENGTH,
            "refusal": FinishReason.CONTENT_FILTER,
            "pause_turn": FinishReason.OTHER,
        }

    def golden(self) -> Mapping[str, Any]:
        def body(*messages: Any, **more: Any) -> dict[str, Any]:
            return {"model": self.model, "messages": list(messages), "max_tokens": 4096, **more}

        def user(*blocks: Any) -> dict[str, Any]:
            return {"role": "user", "content": list(blocks)}

        hello = user({"type": "text", "text": "Hello"})
        tool = {
            "name": "weather",
            "description": "The weather in a city",
            "input_schema": SCHEMA,
        }
        call = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Seoul"}}
        sunny = {"type": "text", "text": "sunny"}
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": [sunny]}
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        shape = {"format": {"type": "json_schema", "schema": SCHEMA}}
        return {
            "text": body(hello, system="Be brief."),
            "params": body(
                hello, max_tokens=50, temperature=0.5, top_p=0.9, stop_sequences=["END"]
            ),
            "tools": body(hello, tools=[tool], tool_choice={"type": "tool", "name": "weather"}),
            "tool_round_trip": body(
                hello, {"role": "assistant", "content": [call]}, user(result), tools=[tool]
            ),
            "schema": body(hello, output_config=shape),
            "image": body(
                user({"type": "text", "text": "What is this?"}, {"type": "image", "source": source})
            ),
            "extra": body(hello, vendor_knob={"deep": [1, None]}),
        }

    def native(self, request: ChatRequest) -> Mapping[str, Any]:
        body: dict[str, Any] = {"model": "route", "max_tokens": 9, "messages": [_USER]}
        return {**body, "stream": True} if request.stream else body

    def _message(self, answer: ChatResponse) -> dict[str, Any]:
        shell = {"id": answer.id, "type": "message", "role": "assistant", "model": answer.model}
        return {**shell, "content": [], "stop_reason": None, "stop_sequence": None}

    def _usage(self, usage: Usage) -> dict[str, Any]:
        read = usage.cache_read_tokens
        counts = {"input_tokens": (usage.input_tokens or 0) - (read or 0)}
        counts["output_tokens"] = usage.output_tokens or 0
        return counts if read is None else {**counts, "cache_read_input_tokens": read}

    def _stop_reason(self, answer: ChatResponse) -> str:
        usual = {
            FinishReason.STOP: "end_turn",
            FinishReason.LENGTH: "max_tokens",
            FinishReason.TOOL_CALLS: "tool_use",
        }
        return answer.raw_reason or usual[answer.reason]


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _sse_data(value: Any) -> bytes:
    return b"data: " + _dump(value) + b"\n\n"


def _sse_event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\n" + _sse_data({"type": kind, **fields})


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _usage(usage: Usage) -> dict[str, Any]:
    total = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": total,
    }
    if usage.cache_read_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cache_read_tokens}
    return counts


def _block(part: Text | Reasoning | ToolCall) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Reasoning():
            return {"type": "thinking", "thinking": part.text, "signature": ""}
    return {
        "type": "tool_use",
        "id": part.id,
        "name": part.name,
        "input": json.loads(part.arguments),
    }


def _empty_block(part: Text | Reasoning | ToolCall) -> dict[str, Any]:
    empty = _block(part)
    shown = [key for key in ("text", "thinking", "input") if key in empty]
    return {**empty, **{key: type(empty[key])() for key in shown}}


def _deltas(part: Text | Reasoning | ToolCall, pieces: int) -> list[dict[str, Any]]:
    match part:
        case Text():
            return [{"type": "text_delta", "text": t} for t in split_text(part.text, pieces)]
        case Reasoning():
            return [
                {"type": "thinking_delta", "thinking": t} for t in split_text(part.text, pieces)
            ]
    if part.arguments == "{}":
        return [{"type": "input_json_delta", "partial_json": ""}]
    return [
        {"type": "input_json_delta", "partial_json": t} for t in split_text(part.arguments, pieces)
    ]
