"""Encoding hamlet's core types as Anthropic's message object and stream events."""

from __future__ import annotations

from typing import Any

import orjson

from hamlet.core import (
    ChatEvent,
    ChatResponse,
    Delta,
    Finished,
    FinishReason,
    Meta,
    Reasoning,
    ReasoningDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.OTHER: "end_turn",
}


def encode_message(response: ChatResponse) -> bytes:
    """A whole `message` object."""
    return orjson.dumps(
        {
            **_message_base(response.id, response.model),
            "content": [_block(part) for part in response.parts],
            "stop_reason": _REASONS[response.reason],
            "usage": usage_object(response.usage),
        }
    )


class EventEncoder:
    """Encodes the named events of one stream."""

    def __init__(self) -> None:
        self._index = -1

    def encode(self, event: ChatEvent) -> bytes:
        """The frames of one event."""
        match event:
            case Started():
                base = _message_base(event.response_id, event.model)
                base |= {"content": [], "usage": usage_object(Usage())}
                return sse_frame("message_start", {"message": base})
            case Finished():
                return self._finish(event)
            case _:
                return self._open_block(event) + self._deltas(event)

    def _open_block(self, event: Delta) -> bytes:
        if event.index == self._index:
            return b""
        closed = self._close_block()
        self._index = event.index
        block = {"index": event.index, "content_block": _empty_block(event)}
        return closed + sse_frame("content_block_start", block)

    def _close_block(self) -> bytes:
        return sse_frame("content_block_stop", {"index": self._index}) if self._index >= 0 else b""

    def _deltas(self, event: Delta) -> bytes:
        return b"".join(
            sse_frame("content_block_delta", {"index": event.index, "delta": delta})
            for delta in _delta_objects(event)
        )

    def _finish(self, event: Finished) -> bytes:
        delta = {"stop_reason": _REASONS[event.reason], "stop_sequence": None}
        return (
            self._close_block()
            + sse_frame("message_delta", {"delta": delta, "usage": usage_object(event.usage)})
            + sse_frame("message_stop", {})
        )


def sse_frame(kind: str, data: dict[str, Any]) -> bytes:
    """One named SSE event; the name is in the data too, as clients expect."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **data}))


def usage_object(usage: Usage) -> dict[str, Any]:
    """Token counts as Anthropic has them: input excludes cache reads and writes."""
    read, write = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    return {
        "input_tokens": max(0, (usage.input_tokens or 0) - read - write),
        "output_tokens": usage.output_tokens or 0,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
    }


def _message_base(id_: str, model: str) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(part: Text | Reasoning | ToolCall) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case ToolCall():
            arguments = orjson.loads(part.arguments or "{}")
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
    if redacted := _anthropic_meta(part.meta).get("redacted"):
        return {"type": "redacted_thinking", "data": redacted}
    signature = _anthropic_meta(part.meta).get("signature") or ""
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _empty_block(event: Delta) -> dict[str, Any]:
    match event:
        case TextDelta():
            return _block(Text(""))
        case ToolCallDelta():
            return _block(ToolCall(event.id or "", event.name or "", "{}"))
    redacted = _anthropic_meta(event.meta).get("redacted")
    return _block(Reasoning("", {"anthropic": {"redacted": redacted}}))


def _delta_objects(event: Delta) -> list[dict[str, Any]]:
    match event:
        case TextDelta(text=text):
            return [{"type": "text_delta", "text": text}] if text else []
        case ToolCallDelta(arguments=arguments):
            return [{"type": "input_json_delta", "partial_json": arguments}] if arguments else []
        case ReasoningDelta():
            deltas = [{"type": "thinking_delta", "thinking": event.text}] if event.text else []
            if signature := _anthropic_meta(event.meta).get("signature"):
                deltas.append({"type": "signature_delta", "signature": signature})
            return deltas


def _anthropic_meta(meta: Meta | None) -> dict[str, Any]:
    own = (meta or {}).get("anthropic")
    return own if isinstance(own, dict) else {}
