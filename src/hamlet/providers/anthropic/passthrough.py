"""The fast lane: the caller already uses this API, so bytes are forwarded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from hamlet.core import ChatParams, Headroom, NativeChunk, NativeRequest
from hamlet.core.errors import UpstreamProtocol
from hamlet.providers.anthropic.decode import finish_reason, merge_usage, parse_usage
from hamlet.providers.anthropic.encode import encode_effort, encode_params
from hamlet.providers.anthropic.errors import in_band_error
from hamlet.spi import Forwarder, Reply, forward, parse_block

_encoder = msgspec.json.Encoder()
# Portable name -> wire field, where they differ.
_WIRE_FIELDS = {"stop": "stop_sequences", "user": "metadata", "reasoning_tokens": "thinking"}


class _Message(msgspec.Struct):
    model: str | None = None
    usage: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str = ""


class _ParsedMessage(msgspec.Struct):
    """The fields of a response or event that hamlet reads."""

    type: str
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    content: list[msgspec.Raw] | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Any = None
    error: Any = None

    @property
    def pieces(self) -> int:
        """A lower bound of the tokens; 0 without content."""
        if self.content_block:
            return int(self.content_block.type == "tool_use")
        delta = self.delta
        content = delta and (delta.text or delta.thinking or delta.partial_json)
        return max(1, len(content) // 4) if content else 0


_decoder = msgspec.json.Decoder(_ParsedMessage)


def encode_native_request(request: NativeRequest) -> bytes:
    """The caller's object with the upstream's model name."""
    dropped = {_WIRE_FIELDS.get(name, name) for name in request.dropped}
    sent: dict[str, Any] = {k: raw for k, raw in request.fields.items() if k not in dropped}
    sent["model"] = request.model
    sent |= encode_params(request.overrides)
    _apply_nested_params(sent, request.overrides, request.dropped)
    return _encoder.encode(sent)


def _apply_nested_params(
    sent: dict[str, Any], overrides: ChatParams, dropped: frozenset[str]
) -> None:
    """Set or remove the two parameters that this API nests inside other objects."""
    effort_level = encode_effort(overrides)
    if effort_level or "reasoning_effort" in dropped:
        sent["output_config"] = _with_field(sent.get("output_config"), "effort", effort_level)
    parallel = overrides.parallel_tool_calls
    if parallel is not None and "tools" in sent:
        choice = _with_field(sent.get("tool_choice"), "disable_parallel_tool_use", not parallel)
        sent["tool_choice"] = {"type": "auto", **choice}
    elif "parallel_tool_calls" in dropped:
        sent["tool_choice"] = _with_field(
            sent.get("tool_choice"), "disable_parallel_tool_use", None
        )


def _with_field(raw: Any, key: str, value: Any) -> dict[str, Any]:
    given = msgspec.json.decode(raw) if raw else None
    fields = {k: v for k, v in (given or {}).items() if k != key}
    return fields if value is None else {**fields, key: value}


def native_response(raw: bytes, headroom: Headroom | None = None) -> NativeChunk:
    """A complete response. Raises ProviderError."""
    message = _decode(raw)
    if message.content is None:
        raise UpstreamProtocol("the upstream's answer is not a message")
    finish, used = finish_reason(message.stop_reason), parse_usage(message.usage)
    return NativeChunk(raw, True, finish, used, message.model, end=True, headroom=headroom)


def forward_events(reply: Reply, idle_s: float | None = None) -> AsyncGenerator[NativeChunk, None]:
    """The events of a stream, forwarded per network read. Raises ProviderError."""
    return forward(reply, _EventForwarder(), idle_s)


class _EventForwarder(Forwarder):
    """Inspects the named events of a message."""

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        super().__init__()
        self._usage: Mapping[str, Any] = {}

    def on_block(self, block: bytes) -> None:
        frame = parse_block(block)
        # hamlet sends its own keepalives.
        if frame is None or frame.event == "ping":
            return
        self._record_event(_decode(frame.data))
        self.emit(block)

    def _record_event(self, event: _ParsedMessage) -> None:
        if event.message:
            self._usage = merge_usage({}, event.message.usage)
            self.chunk_fields["model"] = event.message.model
        if pieces := event.pieces:
            self.chunk_fields["content"] = True
            self.chunk_fields["pieces"] = self.chunk_fields.get("pieces", 0) + pieces
        if event.type == "message_delta":
            self._usage = merge_usage(self._usage, event.usage)
            self.chunk_fields["usage"] = parse_usage(self._usage)
            if event.delta and event.delta.stop_reason:
                self.chunk_fields["finish"] = finish_reason(event.delta.stop_reason)
        if event.type == "message_stop":
            self.chunk_fields["end"] = self.ended = True


def _decode(data: bytes) -> _ParsedMessage:
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise UpstreamProtocol("the upstream's answer is not what its API promises") from None
    if message.type == "error":
        raise in_band_error({"error": message.error})
    return message
