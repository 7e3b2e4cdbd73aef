"""A chat call: the request, the events of the response, and the response they add up to."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct, structs

from hamlet.core.card import Feature
from hamlet.core.headroom import Headroom
from hamlet.core.messages import (
    Audio,
    Document,
    Image,
    Message,
    Meta,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from hamlet.core.params import ChatParams
from hamlet.core.terms import NO_TERMS, Terms
from hamlet.core.usage import FinishReason, Usage


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema object."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool choice that forces one tool."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class Output:
    """The form of the response: free text, any JSON object, or JSON that matches `schema`."""

    kind: Literal["text", "json", "schema"] = "text"
    name: str = "answer"
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


TEXT_OUTPUT = Output()


@dataclass(frozen=True)
class ChatRequest:
    """A chat request. Inside an adapter `model` is the upstream id and `params` are final.

    `provider_options[kind]` reaches only adapters of that kind; `tags` never leave hamlet.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: Output = TEXT_OUTPUT
    params: ChatParams = field(default_factory=ChatParams)
    stream: bool = False
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    terms: Terms = NO_TERMS

    @cached_property
    def features(self) -> frozenset[Feature]:
        """The features that a deployment must have to serve this request."""
        needed = {_PART_FEATURES[type(p)] for p in self._all_parts() if type(p) in _PART_FEATURES}
        if self.tools:
            needed.add(Feature.TOOLS)
        if self.output.kind != "text":
            needed.add(Feature.JSON if self.output.kind == "json" else Feature.JSON_SCHEMA)
        if (self.params.n or 1) > 1:
            needed.add(Feature.CHOICES)
        return frozenset(needed)

    def _all_parts(self) -> list[Part]:
        top = [part for message in self.messages for part in message.parts]
        nested = [p for part in top if isinstance(part, ToolResult) for p in part.parts]
        return top + nested


_PART_FEATURES: dict[type, Feature] = {
    Image: Feature.IMAGES,
    Audio: Feature.AUDIO,
    Document: Feature.DOCUMENTS,
}


class Started(Struct, frozen=True):
    """The vendor accepted the call: the first event. `headroom` comes from the reply's headers."""

    response_id: str
    model: str
    meta: Meta | None = None
    headroom: Headroom | None = None


def with_headroom(event: ChatEvent, headroom: Headroom | None) -> ChatEvent:
    """The event, with the headroom from the reply's headers if it is the first one."""
    if headroom is None or not isinstance(event, Started):
        return event
    return structs.replace(event, headroom=headroom)


class TextDelta(Struct, frozen=True):
    """More text of part `index`."""

    index: int
    text: str
    meta: Meta | None = None


class ReasoningDelta(Struct, frozen=True):
    """More reasoning of part `index`; an opaque signature may come in `meta` with empty text."""

    index: int
    text: str
    meta: Meta | None = None


class ToolCallDelta(Struct, frozen=True):
    """More of tool call `index`: the first has `id` and `name`, later ones argument text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    meta: Meta | None = None


class Finished(Struct, frozen=True):
    """The response is complete: the last event."""

    reason: FinishReason
    usage: Usage
    raw_reason: str | None = None
    meta: Meta | None = None


Delta = TextDelta | ReasoningDelta | ToolCallDelta
ChatEvent = Started | Delta | Finished


def is_content(event: ChatEvent) -> bool:
    """Whether the caller would see something of the event, which commits the response."""
    match event:
        case TextDelta() | ReasoningDelta():
            return bool(event.text)
        case ToolCallDelta() | Finished():
            return True
    return False


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """A complete response: the fold of its events."""

    id: str
    model: str
    parts: tuple[Text | Reasoning | ToolCall, ...]
    reason: FinishReason
    usage: Usage
    raw_reason: str | None = None

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


async def collect(events: AsyncIterable[ChatEvent]) -> ChatResponse:
    """Fold a stream into a response. Raises ValueError if it has no start or no end."""
    return fold([event async for event in events])


def fold(events: Iterable[ChatEvent]) -> ChatResponse:
    """The response of a sequence of events. Raises ValueError without a start or an end."""
    started: Started | None = None
    finished: Finished | None = None
    deltas: dict[int, list[Delta]] = {}
    for event in events:
        match event:
            case Started():
                started = event
            case Finished():
                finished = event
            case _:
                deltas.setdefault(event.index, []).append(event)
    if started is None or finished is None:
        raise ValueError("the stream has no start or no end")
    return ChatResponse(
        id=started.response_id,
        model=started.model,
        parts=tuple(_merge_deltas(each) for each in deltas.values()),
        reason=finished.reason,
        usage=finished.usage,
        raw_reason=finished.raw_reason,
    )


def _merge_deltas(deltas: list[Delta]) -> Text | Reasoning | ToolCall:
    meta = {key: value for delta in deltas for key, value in (delta.meta or {}).items()} or None
    first = deltas[0]
    if isinstance(first, ToolCallDelta):
        arguments = "".join(d.arguments for d in deltas if isinstance(d, ToolCallDelta))
        return ToolCall(first.id or "", first.name or "", arguments, meta)
    text = "".join(d.text for d in deltas if not isinstance(d, ToolCallDelta))
    return Text(text, meta) if isinstance(first, TextDelta) else Reasoning(text, meta)
