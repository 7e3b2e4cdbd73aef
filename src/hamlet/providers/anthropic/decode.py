"""Decodes Messages responses and stream events into hamlet's events."""

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
from hamlet.core.errors import UpstreamProtocol
from hamlet.providers.anthropic.errors import in_band_error
from hamlet.spi import Frame

FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


def finish_reason(raw: str | None) -> FinishReason:
    """The finish reason as hamlet names it."""
    return FINISH_REASONS.get(raw or "", FinishReason.OTHER)


def parse_usage(raw: Any) -> Usage:
    """Token counts: unlike hamlet's, this API's input excludes cache reads and writes."""
    if not isinstance(raw, dict) or not raw:
        return Usage()
    cache_read_tokens = token_count(raw.get("cache_read_input_tokens"))
    cache_write_tokens = token_count(raw.get("cache_creation_input_tokens"))
    uncached_tokens = token_count(raw.get("input_tokens"))
    return Usage(
        input_tokens=None
        if uncached_tokens is None
        else uncached_tokens + (cache_read_tokens or 0) + (cache_write_tokens or 0),
        output_tokens=token_count(raw.get("output_tokens")),
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=cache_write_tokens,
        raw=raw,
    )


def merge_usage(earlier: Mapping[str, Any], update: Any) -> dict[str, Any]:
    """The counters of a later event replace earlier ones: they are cumulative."""
    later = update.items() if isinstance(update, dict) else ()
    return {**earlier, **{key: value for key, value in later if value is not None}}


def decode_response(raw: bytes, model: str) -> Iterator[ChatEvent]:
    """The events of a complete response. Raises ProviderError."""
    try:
        body = orjson.loads(raw)
        if body["type"] == "error":
            raise in_band_error(body)
        blocks, stop = body["content"], body["stop_reason"]
        decoder = EventDecoder(model)
        yield from decoder.decode_event({"type": "message_start", "message": body})
        for i, block in enumerate(blocks):
            yield from _decode_full_block(decoder, i, block)
        yield Finished(finish_reason(stop), parse_usage(body.get("usage")), stop)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UpstreamProtocol("the upstream's answer is not a message") from None


def _decode_full_block(
    decoder: EventDecoder, i: int, block: Mapping[str, Any]
) -> Iterator[ChatEvent]:
    yield from decoder.decode_event(
        {"type": "content_block_start", "index": i, "content_block": block}
    )
    yield from decoder.decode_event({"type": "content_block_stop", "index": i})


async def decode_stream(frames: AsyncIterator[Frame], model: str) -> AsyncIterator[ChatEvent]:
    """The events of a stream. Raises ProviderError; the host deals with a missing end."""
    decoder = EventDecoder(model)
    async for frame in frames:
        try:
            for event in decoder.decode_event(frame.json):
                yield event
        except (KeyError, TypeError, AttributeError):
            raise UpstreamProtocol("an event is not what it says", phase="stream") from None
        if decoder.is_stopped:
            return


class EventDecoder:
    """Turns the API's events into hamlet's; blocks of unknown types are left out."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._index = -1
        self._part_indexes: dict[int, int] = {}
        self._has_arguments: dict[int, bool] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self.is_stopped = False

    def decode_event(self, body: Mapping[str, Any]) -> Iterator[ChatEvent]:
        """The events for one event of the API."""
        match body["type"]:
            case "message_start":
                message = body["message"]
                self._usage = merge_usage({}, message.get("usage"))
                id_ = message.get("id") or f"msg_{uuid.uuid4().hex}"
                yield Started(id_, message.get("model") or self._model)
            case "content_block_start":
                yield from self._decode_block_start(body["index"], body["content_block"])
            case "content_block_delta" if body["index"] in self._part_indexes:
                yield from self._decode_delta(body["index"], body["delta"])
            case "content_block_stop":
                if self._has_arguments.pop(body["index"], None) is False:
                    # Without arguments the stream has no delta, while a complete response has {}.
                    yield ToolCallDelta(self._part_indexes[body["index"]], arguments="{}")
            case "message_delta":
                self._usage = merge_usage(self._usage, body.get("usage"))
                self._stop_reason = body["delta"].get("stop_reason") or self._stop_reason
            case "message_stop":
                self.is_stopped = True
                yield Finished(
                    finish_reason(self._stop_reason), parse_usage(self._usage), self._stop_reason
                )
            case "error":
                raise in_band_error(body)

    def _decode_block_start(self, index: int, block: Mapping[str, Any]) -> Iterator[ChatEvent]:
        kind = block["type"]
        if kind not in ("text", "thinking", "redacted_thinking", "tool_use"):
            return
        self._index += 1
        self._part_indexes[index] = part_index = self._index
        match kind:
            case "text":
                yield TextDelta(part_index, block["text"])
            case "thinking":
                yield _reasoning_delta(part_index, block["thinking"], block.get("signature"))
            case "redacted_thinking":
                yield ReasoningDelta(part_index, "", {"anthropic": {"redacted": block["data"]}})
            case "tool_use":
                arguments = orjson.dumps(block["input"]).decode() if block.get("input") else ""
                self._has_arguments[index] = bool(arguments)
                yield ToolCallDelta(part_index, block["id"], block["name"], arguments)

    def _decode_delta(self, index: int, delta: Mapping[str, Any]) -> Iterator[ChatEvent]:
        part_index = self._part_indexes[index]
        match delta["type"]:
            case "text_delta":
                yield TextDelta(part_index, delta["text"])
            case "thinking_delta":
                yield _reasoning_delta(part_index, delta["thinking"], None)
            case "signature_delta":
                yield _reasoning_delta(part_index, "", delta["signature"])
            case "input_json_delta" if delta["partial_json"]:
                self._has_arguments[index] = True
                yield ToolCallDelta(part_index, arguments=delta["partial_json"])


def _reasoning_delta(index: int, text: str, signature: str | None) -> ReasoningDelta:
    meta = {"anthropic": {"signature": signature}} if signature else None
    return ReasoningDelta(index, text, meta)
