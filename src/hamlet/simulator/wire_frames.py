"""Answers and errors in the bytes of the three wire formats.

Events: https://platform.openai.com/docs/api-reference/chat-streaming and
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from hamlet.simulator.spec import WireName

_WORD = "word "
_CREATED = 1_700_000_000


@dataclass(frozen=True, slots=True)
class CompletionData:
    """The facts of one answer that appear in its bytes."""

    id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    is_truncated: bool
    include_usage: bool = True


def filler_text(tokens: int) -> str:
    """The text of an answer of so many tokens."""
    return _WORD * tokens


class OpenAIFrames:
    """Chat Completions. Azure's streams begin with an event without choices."""

    ping = b": ping\n\n"
    malformed_event = b'data: {"id": "chatcmpl-1", "choices": [{"delta": {"cont\n\n'

    def __init__(self, azure: bool) -> None:
        self._azure = azure

    def opening(self, completion: CompletionData) -> bytes:
        """The frames before the first token, sent together with it."""
        first = _chunk(completion, '[{"index":0,"delta":{"role":"assistant","content":""}}]')
        if not self._azure:
            return first
        results = '"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]'
        return _data_event(f'{{"choices":[],"id":"","model":"",{results}}}') + first

    def content_renderer(self, completion: CompletionData) -> Callable[[int], bytes]:
        """A function that renders an event of so many tokens."""
        start = _chunk_start(completion)
        return lambda tokens: start + _openai_content(tokens)

    def closing(self, completion: CompletionData) -> bytes:
        """The finish reason, usage if requested, and the end."""
        reason = "length" if completion.is_truncated else "stop"
        end = _chunk(completion, f'[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]')
        if completion.include_usage:
            usage = orjson.dumps(_openai_usage(completion)).decode()
            end += _chunk(completion, f'[],"usage":{usage}')
        return end + b"data: [DONE]\n\n"

    def full_body(self, completion: CompletionData) -> bytes:
        """The body of an answer that is not streamed."""
        message = {"role": "assistant", "content": filler_text(completion.output_tokens)}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "length" if completion.is_truncated else "stop",
        }
        return orjson.dumps(
            {
                "id": completion.id,
                "object": "chat.completion",
                "created": _CREATED,
                "model": completion.model,
                "choices": [choice],
                "usage": _openai_usage(completion),
            }
        )

    def content_filtered_end(self, completion: CompletionData) -> bytes:
        """The end of an answer that the output filter aborted."""
        end = '[{"index":0,"delta":{},"finish_reason":"content_filter"}]'
        return _chunk(completion, end) + b"data: [DONE]\n\n"

    def error_body(self, status: int, code: str, message: str) -> bytes:
        """The body of an error."""
        kind = _OPENAI_TYPES.get(status, "server_error")
        if code in ("insufficient_quota", "server_is_overloaded"):
            kind = code
        fields = {"message": message, "type": kind, "param": None, "code": code}
        return orjson.dumps({"error": fields})

    def error_event(self, error: bytes) -> bytes:
        """An error body as an event inside a stream."""
        return b"data: " + error + b"\n\n"

    @property
    def overload_error(self) -> tuple[int, str]:
        """Status and code of an overload."""
        return 503, "server_is_overloaded"


class AnthropicFrames:
    """The Messages API."""

    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    malformed_event = b'event: content_block_delta\ndata: {"type": "content_block_del\n\n'

    def opening(self, completion: CompletionData) -> bytes:
        """`message_start` and the start of the only block."""
        message: dict[str, Any] = {
            "id": completion.id,
            "type": "message",
            "role": "assistant",
            "model": completion.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _anthropic_usage(completion, 1),
        }
        block = {"type": "text", "text": ""}
        return _event("message_start", message=message) + _event(
            "content_block_start", index=0, content_block=block
        )

    def content_renderer(self, completion: CompletionData) -> Callable[[int], bytes]:
        """A function that renders an event of so many tokens."""
        return _anthropic_content

    def closing(self, completion: CompletionData) -> bytes:
        """The stop reason, usage, and the end."""
        return self._end(completion, "max_tokens" if completion.is_truncated else "end_turn")

    def content_filtered_end(self, completion: CompletionData) -> bytes:
        """The end of an answer that the model refused to continue."""
        return self._end(completion, "refusal")

    def _end(self, completion: CompletionData, reason: str) -> bytes:
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {"output_tokens": completion.output_tokens}
        return (
            _event("content_block_stop", index=0)
            + _event("message_delta", delta=delta, usage=usage)
            + _event("message_stop")
        )

    def full_body(self, completion: CompletionData) -> bytes:
        """The body of an answer that is not streamed."""
        return orjson.dumps(
            {
                "id": completion.id,
                "type": "message",
                "role": "assistant",
                "model": completion.model,
                "content": [{"type": "text", "text": filler_text(completion.output_tokens)}],
                "stop_reason": "max_tokens" if completion.is_truncated else "end_turn",
                "stop_sequence": None,
                "usage": _anthropic_usage(completion, completion.output_tokens),
            }
        )

    def error_body(self, status: int, code: str, message: str) -> bytes:
        """The body of an error."""
        fields: dict[str, Any] = {"type": _ANTHROPIC_TYPES.get(status, "api_error")}
        fields["message"] = message
        if code == "insufficient_quota":
            fields["details"] = {"error_code": "enforced_spend_limit_reached"}
        return orjson.dumps({"type": "error", "error": fields})

    def error_event(self, error: bytes) -> bytes:
        """An error body as an event inside a stream."""
        return b"event: error\ndata: " + error + b"\n\n"

    @property
    def overload_error(self) -> tuple[int, str]:
        """Status and code of an overload."""
        return 529, "overloaded_error"


Frames = OpenAIFrames | AnthropicFrames


def frames_for(wire: WireName) -> Frames:
    """The renderer of a wire format."""
    return AnthropicFrames() if wire == "anthropic" else OpenAIFrames(wire == "azure")


_OPENAI_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "requests",
}
_ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _data_event(text: str) -> bytes:
    return b"data: " + text.encode() + b"\n\n"


def _chunk(completion: CompletionData, choices: str) -> bytes:
    return _chunk_start(completion) + choices.encode() + b"}\n\n"


def _chunk_start(completion: CompletionData) -> bytes:
    # Model names come from the simulator's own specification, so they need no escaping.
    return (
        f'data: {{"id":"{completion.id}","object":"chat.completion.chunk","created":{_CREATED},'
        f'"model":"{completion.model}","choices":'
    ).encode()


@lru_cache(maxsize=256)
def _openai_content(tokens: int) -> bytes:
    delta = {"content": filler_text(tokens)}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return orjson.dumps([choice]) + b"}\n\n"


@lru_cache(maxsize=256)
def _anthropic_content(tokens: int) -> bytes:
    delta = {"type": "text_delta", "text": filler_text(tokens)}
    return _event("content_block_delta", index=0, delta=delta)


def _event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _openai_usage(completion: CompletionData) -> dict[str, Any]:
    return {
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.output_tokens,
        "total_tokens": completion.prompt_tokens + completion.output_tokens,
        "prompt_tokens_details": {"cached_tokens": completion.cached_tokens},
    }


def _anthropic_usage(completion: CompletionData, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": completion.prompt_tokens - completion.cached_tokens,
        "cache_read_input_tokens": completion.cached_tokens,
        "output_tokens": output_tokens,
    }
