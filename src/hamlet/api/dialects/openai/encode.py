"""Encoding hamlet's core types as OpenAI's Chat Completions objects and chunks."""

from __future__ import annotations

import time
from typing import Any

import orjson

from hamlet.core import (
    ChatEvent,
    ChatResponse,
    Finished,
    FinishReason,
    Reasoning,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"


def encode_completion(response: ChatResponse) -> bytes:
    """A whole `chat.completion` object."""
    return orjson.dumps(
        {
            "id": response.id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": response.model,
            "choices": [
                {
                    "index": 0,
                    "message": _message(response),
                    "logprobs": None,
                    "finish_reason": _finish_reason(response.reason),
                }
            ],
            "usage": usage_object(response.usage),
        }
    )


class ChunkEncoder:
    """Encodes the events of one stream as `chat.completion.chunk` frames."""

    def __init__(self, *, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._tool_positions: dict[int, int] = {}
        self._chunk_base: dict[str, Any] = {}

    def encode(self, event: ChatEvent) -> bytes:
        """The frames of one event; the last ones end with [DONE]."""
        match event:
            case Started():
                return self._start(event)
            case TextDelta():
                return self._delta({"content": event.text}) if event.text else b""
            case ReasoningDelta():
                return self._delta({"reasoning_content": event.text}) if event.text else b""
            case ToolCallDelta():
                return self._delta({"tool_calls": [self._tool_call(event)]})
            case Finished():
                return self._finish(event)

    def _start(self, event: Started) -> bytes:
        self._chunk_base = {
            "id": event.response_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": event.model,
        }
        if self._with_usage:
            self._chunk_base["usage"] = None
        return self._delta({"role": "assistant", "content": ""})

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _frame({**self._chunk_base, "choices": [choice]})

    def _tool_call(self, event: ToolCallDelta) -> dict[str, Any]:
        first = event.index not in self._tool_positions
        position = self._tool_positions.setdefault(event.index, len(self._tool_positions))
        function: dict[str, Any] = {"arguments": event.arguments}
        call: dict[str, Any] = {"index": position, "function": function}
        if first:
            call |= {"id": event.id, "type": "function"}
            function["name"] = event.name
        return call

    def _finish(self, event: Finished) -> bytes:
        frames = self._delta({}, _finish_reason(event.reason))
        if self._with_usage:
            frames += _frame(
                {**self._chunk_base, "choices": [], "usage": usage_object(event.usage)}
            )
        return frames + DONE


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts as OpenAI has them; an unknown count is 0, since clients require a number."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }


def _message(response: ChatResponse) -> dict[str, Any]:
    calls = [_tool_call_object(part) for part in response.parts if isinstance(part, ToolCall)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": response.text if response.text or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    reasoning = "".join(part.text for part in response.parts if isinstance(part, Reasoning))
    if reasoning:
        message["reasoning_content"] = reasoning
    return message


def _tool_call_object(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _finish_reason(reason: FinishReason) -> str:
    return "stop" if reason is FinishReason.OTHER else reason.value


def _frame(chunk: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
