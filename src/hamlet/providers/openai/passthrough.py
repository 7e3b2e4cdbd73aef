"""The fast lane: the caller already uses this API, so bytes are forwarded.

The request gets the upstream's model name and the changes of defaults and caps; each frame of the
response is parsed once, for the finish reason, usage, errors and the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import orjson

from hamlet.core import NO_TERMS, Headroom, NativeChunk, NativeRequest, Terms
from hamlet.core.errors import EmptyAnswer, UpstreamProtocol
from hamlet.providers.openai.decode import DONE, finish_reason, parse_usage, raise_if_unfiltered
from hamlet.providers.openai.encode import encode_params
from hamlet.providers.openai.errors import in_band_error
from hamlet.spi import Forwarder, Reply, forward, parse_block

_DONE_FRAME = b"data: [DONE]\n\n"
_encoder = msgspec.json.Encoder()


class _Delta(msgspec.Struct):
    role: Any = msgspec.UNSET
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[msgspec.Raw] | None = None

    @property
    def pieces(self) -> int:
        """A lower bound of the tokens; 0 without content."""
        content = self.content or self.reasoning_content or self.reasoning or self.refusal
        if isinstance(content, str) and content:
            return max(1, len(content) // 4)
        return len(self.tool_calls or ()) + bool(content)


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: msgspec.Raw = msgspec.Raw()
    finish_reason: str | None = None


class _ParsedChunk(msgspec.Struct):
    """The fields of a response or chunk that hamlet reads."""

    choices: list[_Choice] | None = None
    usage: Any = None
    model: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_ParsedChunk)


def encode_native_request(request: NativeRequest, max_tokens_field: str) -> bytes:
    """The caller's object with the upstream's model name."""
    sent: dict[str, Any] = dict(request.fields)
    for name in request.dropped:
        sent.pop(name, None)
    sent["model"] = request.model
    overrides = request.overrides.wire_fields()
    changed = encode_params(overrides, max_tokens_field) if overrides else {}
    if max_tokens_field in changed or "max_tokens" in request.dropped:
        sent.pop("max_tokens", None)
        sent.pop("max_completion_tokens", None)
    sent |= changed
    if request.stream and not wants_usage_frame(request):
        sent["stream_options"] = {"include_usage": True}
    return _encoder.encode(sent)


def wants_usage_frame(request: NativeRequest) -> bool:
    """Whether the caller requested the usage frame; hamlet always does."""
    options = request.fields.get("stream_options")
    wanted = msgspec.json.decode(options) if options else None
    return bool(isinstance(wanted, dict) and wanted.get("include_usage"))


def native_response(
    raw: bytes, require_filter: bool = False, headroom: Headroom | None = None
) -> NativeChunk:
    """A complete response. Raises ProviderError; Unfiltered only if `require_filter`."""
    completion = _decode(raw)
    if not completion.choices:
        raise EmptyAnswer("the upstream's answer has no choices")
    if bytes(completion.choices[0].message) in (b"", b"null"):
        raise UpstreamProtocol("the upstream's answer has no message")
    if require_filter:
        raise_if_unfiltered(raw)
    finish = finish_reason(completion.choices[0].finish_reason)
    used = parse_usage(completion.usage)
    return NativeChunk(raw, True, finish, used, completion.model, end=True, headroom=headroom)


def forward_chunks(
    reply: Reply, forward_usage: bool, terms: Terms = NO_TERMS
) -> AsyncGenerator[NativeChunk, None]:
    """The frames of a stream, forwarded per network read. Raises ProviderError."""
    return forward(reply, _ChunkForwarder(forward_usage, terms.require_filter), terms.byte_idle_s)


class _ChunkForwarder(Forwarder):
    """Inspects `chat.completion.chunk` frames."""

    __slots__ = ("_forward_usage", "_has_content", "_require_filter", "has_finish_reason")

    def __init__(self, forward_usage: bool, require_filter: bool) -> None:
        super().__init__()
        self._forward_usage = forward_usage
        self._require_filter = require_filter
        self._has_content = False
        self.has_finish_reason = False

    def on_block(self, block: bytes) -> None:
        frame = parse_block(block)
        if frame is None:
            return
        if frame.data == DONE:
            if not (self._has_content or self.has_finish_reason):
                raise EmptyAnswer("the upstream's answer ends before it has begun", phase="stream")
            self.emit(_DONE_FRAME)
            self.chunk_fields["end"] = self.ended = True
            return
        chunk = _decode(frame.data)
        if chunk.choices is None:
            # Clients require that every data frame is a chunk.
            return
        if self._require_filter:
            raise_if_unfiltered(frame.data)
        self._record_chunk(chunk)
        if chunk.choices or not chunk.usage or self._forward_usage:
            self.emit(_strip_invalid_roles(block, frame.data, chunk.choices))

    def final_chunk(self) -> NativeChunk | None:
        # The vendor sent a finish reason but no [DONE]: add it.
        missing_done = self.has_finish_reason and not self.ended
        return NativeChunk(_DONE_FRAME, end=True) if missing_done else None

    def _record_chunk(self, chunk: _ParsedChunk) -> None:
        if chunk.usage:
            self.chunk_fields["usage"] = parse_usage(chunk.usage)
        if chunk.model:
            self.chunk_fields["model"] = chunk.model
        for choice in chunk.choices or ():
            if choice.delta and (pieces := choice.delta.pieces):
                self.chunk_fields["content"] = self._has_content = True
                self.chunk_fields["pieces"] = self.chunk_fields.get("pieces", 0) + pieces
            if choice.finish_reason:
                self.chunk_fields["finish"] = finish_reason(choice.finish_reason)
                self.has_finish_reason = True


def _decode(data: bytes) -> _ParsedChunk:
    try:
        chunk = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise UpstreamProtocol("the upstream's answer is not a chat completion") from None
    if chunk.error:
        raise in_band_error({"error": chunk.error})
    return chunk


def _strip_invalid_roles(block: bytes, data: bytes, choices: list[_Choice]) -> bytes:
    """The frame unchanged, unless a delta has a role that clients do not accept."""
    allowed_roles = (msgspec.UNSET, "assistant")
    if all(choice.delta is None or choice.delta.role in allowed_roles for choice in choices):
        return block
    chunk = orjson.loads(data)
    for choice in chunk["choices"]:
        choice.get("delta", {}).pop("role", None)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
