"""Decodes Chat Completions responses and chunks into hamlet's events."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import orjson

from hamlet.core import (
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
    token_count,
)
from hamlet.core.errors import EmptyAnswer, Unfiltered, UpstreamProtocol
from hamlet.providers.openai.errors import in_band_error
from hamlet.spi import Frame

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
DONE = b"[DONE]"


def finish_reason(raw: str | None) -> FinishReason:
    """The finish reason as hamlet names it."""
    return FINISH_REASONS.get(raw or "", FinishReason.OTHER)


def parse_usage(raw: Any) -> Usage:
    """Token counts: this API's totals include cached and reasoning tokens, as hamlet's do.

    An invalid count (a string, a negative number) is dropped rather than failing the response.
    """
    if not isinstance(raw, dict) or not raw:
        return Usage()
    return Usage(
        input_tokens=token_count(raw.get("prompt_tokens")),
        output_tokens=token_count(raw.get("completion_tokens")),
        cache_read_tokens=_token_detail(raw, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_token_detail(raw, "completion_tokens_details", "reasoning_tokens"),
        raw=raw,
    )


def _token_detail(raw: Mapping[str, Any], group: str, name: str) -> int | None:
    details = raw.get(group)
    return token_count(details.get(name)) if isinstance(details, dict) else None


def raise_if_unfiltered(data: bytes) -> None:
    """Raise Unfiltered if the content filter did not run on a choice or on the prompt.

    https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
    """
    # Quotes in the model's text are escaped, so this substring is a cheap and safe test.
    if b'"content_filter_error"' in data and _is_unfiltered(orjson.loads(data)):
        raise Unfiltered("the upstream's content filter did not run")


def _is_unfiltered(body: Any) -> bool:
    parts = [*(body.get("choices") or ()), *(body.get("prompt_filter_results") or ())]
    for part in parts:
        for key in ("content_filter_results", "content_filter_result"):
            filter_result = part.get(key)
            error = filter_result.get("error") if isinstance(filter_result, dict) else None
            if isinstance(error, dict) and error.get("code") == "content_filter_error":
                return True
    return False


def decode_response(raw: bytes, model: str) -> Iterator[ChatEvent]:
    """The events of a complete response. Raises ProviderError."""
    try:
        body = orjson.loads(raw)
        if "error" in body and "choices" not in body:
            raise in_band_error(body)
        if not body["choices"]:
            raise EmptyAnswer("the upstream's answer has no choices")
        choice = body["choices"][0]
        message = choice["message"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise UpstreamProtocol("the upstream's answer is not a chat completion") from None
    decoder = ChunkDecoder(model)
    calls = [{"index": i, **call} for i, call in enumerate(message.get("tool_calls") or [])]
    delta = {**message, "tool_calls": calls}
    finish = choice.get("finish_reason") or "stop"
    chunk = {**body, "choices": [{"delta": delta, "finish_reason": finish}]}
    yield from decoder.decode_chunk(chunk)
    yield decoder.build_finished()


async def decode_stream(frames: AsyncIterator[Frame], model: str) -> AsyncIterator[ChatEvent]:
    """The events of a stream. Raises ProviderError; the host deals with a missing end."""
    decoder = ChunkDecoder(model)
    done = False
    async for frame in frames:
        if frame.data == DONE:
            done = True
            break
        try:
            for event in decoder.decode_chunk(frame.json):
                yield event
        except (KeyError, TypeError, AttributeError, ValueError):
            raise UpstreamProtocol("a chunk is not what it says", phase="stream") from None
    if decoder.has_finish_reason or (done and decoder.has_content):
        yield decoder.build_finished()


class ChunkDecoder:
    """Turns chunks into events; parts are numbered in the order in which they start."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._index = -1
        self._open_part: object = None
        self._call_id = ""
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None

    def decode_chunk(self, body: Any) -> Iterator[ChatEvent]:
        """The events of one chunk."""
        if not isinstance(body, dict):
            raise UpstreamProtocol("a chunk is not an object", phase="stream")
        if body.get("error"):
            raise in_band_error(body)
        if not self._started:
            self._started = True
            id_ = body.get("id") or f"chatcmpl-{uuid.uuid4().hex}"
            yield Started(id_, body.get("model") or self._model)
        self._usage = body.get("usage") or self._usage
        for choice in body.get("choices") or ():
            yield from self._decode_delta(choice.get("delta") or {})
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    @property
    def has_finish_reason(self) -> bool:
        """Whether the vendor has sent a finish reason."""
        return self._finish_reason is not None

    @property
    def has_content(self) -> bool:
        """Whether any part of the response has started."""
        return self._index >= 0

    def build_finished(self) -> Finished:
        """The last event."""
        return Finished(
            finish_reason(self._finish_reason), parse_usage(self._usage), self._finish_reason
        )

    def _decode_delta(self, delta: Mapping[str, Any]) -> Iterator[ChatEvent]:
        # vLLM, DeepSeek and OpenRouter name it "reasoning_content" or "reasoning".
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            yield ReasoningDelta(self._part_index("reasoning"), reasoning)
        if text := delta.get("content") or delta.get("refusal"):
            yield TextDelta(self._part_index("text"), text)
        for call in delta.get("tool_calls") or ():
            yield self._decode_tool_call(call)

    def _decode_tool_call(self, call: Mapping[str, Any]) -> ToolCallDelta:
        function = call.get("function") or {}
        position = ("call", call.get("index", 0))
        arguments = function.get("arguments") or ""
        id_ = call.get("id") or ""
        # Some vendors give every call index 0: there a new id starts a new call.
        if self._open_part == position and id_ in ("", self._call_id):
            return ToolCallDelta(self._index, arguments=arguments)
        if not function.get("name"):
            raise UpstreamProtocol("a tool call has no name", phase="stream")
        self._open_part = None
        self._call_id = id_ or f"call_{uuid.uuid4().hex[:24]}"
        return ToolCallDelta(self._part_index(position), self._call_id, function["name"], arguments)

    def _part_index(self, kind: object) -> int:
        if self._open_part != kind:
            self._open_part = kind
            self._index += 1
        return self._index
