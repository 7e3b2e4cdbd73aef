"""The fast lane: the caller already speaks this API, so bytes go through.

The request gets another model name and what defaults and caps change; the answer is looked at
once per frame, for the finish reason, usage, errors and the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import orjson

from hamlet.core import NO_TERMS, Headroom, NativeChunk, NativeRequest, Terms
from hamlet.core.errors import EmptyAnswer, UpstreamProtocol
from hamlet.providers.openai.decode import DONE, need_filter, reason, usage
from hamlet.providers.openai.encode import params
from hamlet.providers.openai.errors import in_band
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
        """0 without content, else at least how many tokens it is."""
        shown = self.content or self.reasoning_content or self.reasoning or self.refusal
        if isinstance(shown, str) and shown:
            return max(1, len(shown) // 4)
        return len(self.tool_calls or ()) + bool(shown)


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: msgspec.Raw = msgspec.Raw()
    finish_reason: str | None = None


class _Look(msgspec.Struct):
    """What hamlet needs to know of an answer or a chunk."""

    choices: list[_Choice] | None = None
    usage: Any = None
    model: str | None = None
    error: Any = None


_look = msgspec.json.Decoder(_Look)


def body(request: NativeRequest, max_tokens_field: str) -> bytes:
    """The caller's object with the upstream's model name."""
    sent: dict[str, Any] = dict(request.fields)
    for name in request.dropped:
        sent.pop(name, None)
    sent["model"] = request.model
    overrides = request.overrides.sent()
    changed = params(overrides, max_tokens_field) if overrides else {}
    if max_tokens_field in changed or "max_tokens" in request.dropped:
        sent.pop("max_tokens", None)
        sent.pop("max_completion_tokens", None)
    sent |= changed
    if request.stream and not wants_usage(request):
        sent["stream_options"] = {"include_usage": True}
    return _encoder.encode(sent)


def wants_usage(request: NativeRequest) -> bool:
    """Whether the caller asked for the usage frame; hamlet itself always does."""
    options = request.fields.get("stream_options")
    wanted = msgspec.json.decode(options) if options else None
    return bool(isinstance(wanted, dict) and wanted.get("include_usage"))


def whole(raw: bytes, with_filter: bool = False, headroom: Headroom | None = None) -> NativeChunk:
    """One whole answer. Raises ProviderError; Unfiltered only `with_filter`."""
    look = _decode(raw)
    if not look.choices:
        raise EmptyAnswer("the upstream's answer has no choices")
    if bytes(look.choices[0].message) in (b"", b"null"):
        raise UpstreamProtocol("the upstream's answer has no message")
    if with_filter:
        need_filter(raw)
    finish = reason(look.choices[0].finish_reason)
    used = usage(look.usage)
    return NativeChunk(raw, True, finish, used, look.model, end=True, headroom=headroom)


def stream(
    reply: Reply, with_usage: bool, terms: Terms = NO_TERMS
) -> AsyncGenerator[NativeChunk, None]:
    """The frames of a stream, forwarded per network read. Raises ProviderError."""
    return forward(reply, _Chunks(with_usage, terms.require_filter), terms.byte_idle_s)


class _Chunks(Forwarder):
    """Looks at `chat.completion.chunk` frames."""

    __slots__ = ("_said", "_with_filter", "_with_usage", "finished")

    def __init__(self, with_usage: bool, with_filter: bool) -> None:
        super().__init__()
        self._with_usage = with_usage
        self._with_filter = with_filter
        self._said = False
        self.finished = False

    def look(self, block: bytes) -> None:
        frame = parse_block(block)
        if frame is None:
            return
        if frame.data == DONE:
            if not (self._said or self.finished):
                raise EmptyAnswer("the upstream's answer ends before it has begun", phase="stream")
            self.keep(_DONE_FRAME)
            self.seen["end"] = self.ended = True
            return
        seen = _decode(frame.data)
        if seen.choices is None:
            # Clients demand that every data frame is a chunk.
            return
        if self._with_filter:
            need_filter(frame.data)
        self._note(seen)
        if seen.choices or not seen.usage or self._with_usage:
            self.keep(_tidy(block, frame.data, seen.choices))

    def closing(self) -> NativeChunk | None:
        # The vendor said why it stopped but not that it did: say it for it.
        said_all = self.finished and not self.ended
        return NativeChunk(_DONE_FRAME, end=True) if said_all else None

    def _note(self, seen: _Look) -> None:
        if seen.usage:
            self.seen["usage"] = usage(seen.usage)
        if seen.model:
            self.seen["model"] = seen.model
        for choice in seen.choices or ():
            if choice.delta and (pieces := choice.delta.pieces):
                self.seen["content"] = self._said = True
                self.seen["pieces"] = self.seen.get("pieces", 0) + pieces
            if choice.finish_reason:
                self.seen["finish"] = reason(choice.finish_reason)
                self.finished = True


def _decode(data: bytes) -> _Look:
    try:
        look = _look.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise UpstreamProtocol("the upstream's answer is not a chat completion") from None
    if look.error:
        raise in_band({"error": look.error})
    return look


def _tidy(block: bytes, data: bytes, choices: list[_Choice]) -> bytes:
    """The frame as it came, unless a delta's role is one that clients choke on."""
    fine = (msgspec.UNSET, "assistant")
    if all(choice.delta is None or choice.delta.role in fine for choice in choices):
        return block
    chunk = orjson.loads(data)
    for choice in chunk["choices"]:
        choice.get("delta", {}).pop("role", None)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
