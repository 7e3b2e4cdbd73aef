"""Messages answers, whole and as events, as hamlet's events."""

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
from hamlet.providers.anthropic.errors import in_band
from hamlet.spi import Frame

REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


def reason(raw: str | None) -> FinishReason:
    """The finish reason, over all vendors."""
    return REASONS.get(raw or "", FinishReason.OTHER)


def usage(raw: Any) -> Usage:
    """Token counts: this API's input excludes what the cache read or wrote, ours does not."""
    if not isinstance(raw, dict) or not raw:
        return Usage()
    read = token_count(raw.get("cache_read_input_tokens"))
    written = token_count(raw.get("cache_creation_input_tokens"))
    fresh = token_count(raw.get("input_tokens"))
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=token_count(raw.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        raw=raw,
    )


def merged(old: Mapping[str, Any], new: Any) -> dict[str, Any]:
    """Counters of a later event over earlier ones: they are cumulative, not to be added."""
    later = new.items() if isinstance(new, dict) else ()
    return {**old, **{key: value for key, value in later if value is not None}}


def whole(raw: bytes, model: str) -> Iterator[ChatEvent]:
    """The events of a whole answer. Raises ProviderError."""
    try:
        body = orjson.loads(raw)
        if body["type"] == "error":
            raise in_band(body)
        blocks, stop = body["content"], body["stop_reason"]
        decoder = EventDecoder(model)
        yield from decoder.event({"type": "message_start", "message": body})
        for i, block in enumerate(blocks):
            yield from _whole_block(decoder, i, block)
        yield Finished(reason(stop), usage(body.get("usage")), stop)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UpstreamProtocol("the upstream's answer is not a message") from None


def _whole_block(decoder: EventDecoder, i: int, block: Mapping[str, Any]) -> Iterator[ChatEvent]:
    yield from decoder.event({"type": "content_block_start", "index": i, "content_block": block})
    yield from decoder.event({"type": "content_block_stop", "index": i})


async def stream(frames: AsyncIterator[Frame], model: str) -> AsyncIterator[ChatEvent]:
    """The events of a streamed answer. Raises ProviderError; a missing end is left to the host."""
    decoder = EventDecoder(model)
    async for frame in frames:
        try:
            for event in decoder.event(frame.json):
                yield event
        except (KeyError, TypeError, AttributeError):
            raise UpstreamProtocol("an event is not what it says", phase="stream") from None
        if decoder.stopped:
            return


class EventDecoder:
    """Turns stream events into ours; blocks that nobody can carry are left out."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._index = -1
        self._known: dict[int, int] = {}
        self._calls: dict[int, bool] = {}
        self._usage: dict[str, Any] = {}
        self._stop: str | None = None
        self.stopped = False

    def event(self, body: Mapping[str, Any]) -> Iterator[ChatEvent]:
        """Our events for one of theirs."""
        match body["type"]:
            case "message_start":
                message = body["message"]
                self._usage = merged({}, message.get("usage"))
                id_ = message.get("id") or f"msg_{uuid.uuid4().hex}"
                yield Started(id_, message.get("model") or self._model)
            case "content_block_start":
                yield from self._start(body["index"], body["content_block"])
            case "content_block_delta" if body["index"] in self._known:
                yield from self._delta(body["index"], body["delta"])
            case "content_block_stop":
                if self._calls.pop(body["index"], None) is False:
                    # A call without arguments: the stream says nothing, the whole answer {}.
                    yield ToolCallDelta(self._known[body["index"]], arguments="{}")
            case "message_delta":
                self._usage = merged(self._usage, body.get("usage"))
                self._stop = body["delta"].get("stop_reason") or self._stop
            case "message_stop":
                self.stopped = True
                yield Finished(reason(self._stop), usage(self._usage), self._stop)
            case "error":
                raise in_band(body)

    def _start(self, index: int, block: Mapping[str, Any]) -> Iterator[ChatEvent]:
        kind = block["type"]
        if kind not in ("text", "thinking", "redacted_thinking", "tool_use"):
            return
        self._index += 1
        self._known[index] = here = self._index
        match kind:
            case "text":
                yield TextDelta(here, block["text"])
            case "thinking":
                yield _thinking(here, block["thinking"], block.get("signature"))
            case "redacted_thinking":
                yield ReasoningDelta(here, "", {"anthropic": {"redacted": block["data"]}})
            case "tool_use":
                arguments = orjson.dumps(block["input"]).decode() if block.get("input") else ""
                self._calls[index] = bool(arguments)
                yield ToolCallDelta(here, block["id"], block["name"], arguments)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Iterator[ChatEvent]:
        here = self._known[index]
        match delta["type"]:
            case "text_delta":
                yield TextDelta(here, delta["text"])
            case "thinking_delta":
                yield _thinking(here, delta["thinking"], None)
            case "signature_delta":
                yield _thinking(here, "", delta["signature"])
            case "input_json_delta" if delta["partial_json"]:
                self._calls[index] = True
                yield ToolCallDelta(here, arguments=delta["partial_json"])


def _thinking(index: int, text: str, signature: str | None) -> ReasoningDelta:
    meta = {"anthropic": {"signature": signature}} if signature else None
    return ReasoningDelta(index, text, meta)
