"""The fast lane: the caller already speaks this API, so bytes go through."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from hamlet.core import ChatParams, Headroom, NativeChunk, NativeRequest
from hamlet.core.errors import UpstreamProtocol
from hamlet.providers.anthropic.decode import merged, reason, usage
from hamlet.providers.anthropic.encode import effort, params
from hamlet.providers.anthropic.errors import in_band
from hamlet.spi import Forwarder, Reply, forward, parse_block

_encoder = msgspec.json.Encoder()
# Portable name -> wire field, where they differ.
_FIELDS = {"stop": "stop_sequences", "user": "metadata", "reasoning_tokens": "thinking"}


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


class _Look(msgspec.Struct):
    """What hamlet needs to know of an answer or an event."""

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
        """0 without content, else at least how many tokens it is."""
        if self.content_block:
            return int(self.content_block.type == "tool_use")
        delta = self.delta
        shown = delta and (delta.text or delta.thinking or delta.partial_json)
        return max(1, len(shown) // 4) if shown else 0


_look = msgspec.json.Decoder(_Look)


def body(request: NativeRequest) -> bytes:
    """The caller's object with the upstream's model name."""
    dropped = {_FIELDS.get(name, name) for name in request.dropped}
    sent: dict[str, Any] = {k: raw for k, raw in request.fields.items() if k not in dropped}
    sent["model"] = request.model
    sent |= params(request.overrides)
    _nest(sent, request.overrides, request.dropped)
    return _encoder.encode(sent)


def _nest(sent: dict[str, Any], overrides: ChatParams, dropped: frozenset[str]) -> None:
    """Set or take out the two knobs that this wire keeps inside other objects."""
    asked = effort(overrides)
    if asked or "reasoning_effort" in dropped:
        sent["output_config"] = _with(sent.get("output_config"), "effort", asked)
    parallel = overrides.parallel_tool_calls
    if parallel is not None and "tools" in sent:
        choice = _with(sent.get("tool_choice"), "disable_parallel_tool_use", not parallel)
        sent["tool_choice"] = {"type": "auto", **choice}
    elif "parallel_tool_calls" in dropped:
        sent["tool_choice"] = _with(sent.get("tool_choice"), "disable_parallel_tool_use", None)


def _with(raw: Any, key: str, value: Any) -> dict[str, Any]:
    given = msgspec.json.decode(raw) if raw else None
    fields = {k: v for k, v in (given or {}).items() if k != key}
    return fields if value is None else {**fields, key: value}


def whole(raw: bytes, headroom: Headroom | None = None) -> NativeChunk:
    """One whole answer. Raises ProviderError."""
    look = _decode(raw)
    if look.content is None:
        raise UpstreamProtocol("the upstream's answer is not a message")
    finish, used = reason(look.stop_reason), usage(look.usage)
    return NativeChunk(raw, True, finish, used, look.model, end=True, headroom=headroom)


def stream(reply: Reply, idle_s: float | None = None) -> AsyncGenerator[NativeChunk, None]:
    """The events of a stream, forwarded per network read. Raises ProviderError."""
    return forward(reply, _Events(), idle_s)


class _Events(Forwarder):
    """Looks at the named events of a message."""

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        super().__init__()
        self._usage: Mapping[str, Any] = {}

    def look(self, block: bytes) -> None:
        frame = parse_block(block)
        # hamlet has a heartbeat of its own.
        if frame is None or frame.event == "ping":
            return
        self._note(_decode(frame.data))
        self.keep(block)

    def _note(self, seen: _Look) -> None:
        if seen.message:
            self._usage = merged({}, seen.message.usage)
            self.seen["model"] = seen.message.model
        if pieces := seen.pieces:
            self.seen["content"] = True
            self.seen["pieces"] = self.seen.get("pieces", 0) + pieces
        if seen.type == "message_delta":
            self._usage = merged(self._usage, seen.usage)
            self.seen["usage"] = usage(self._usage)
            if seen.delta and seen.delta.stop_reason:
                self.seen["finish"] = reason(seen.delta.stop_reason)
        if seen.type == "message_stop":
            self.seen["end"] = self.ended = True


def _decode(data: bytes) -> _Look:
    try:
        look = _look.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise UpstreamProtocol("the upstream's answer is not what its API promises") from None
    if look.type == "error":
        raise in_band({"error": look.error})
    return look
