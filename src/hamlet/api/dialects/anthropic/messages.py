"""The messages of an Anthropic request, typed, and their translation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

from hamlet.core import Document, Image, Message, Part, Reasoning, Text, ToolCall, ToolResult
from hamlet.core.errors import BadRequest


class WireSource(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class WireBlock(msgspec.Struct):
    type: str
    text: str | None = None
    source: WireSource | None = None
    title: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: Any = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class InputMessage(msgspec.Struct):
    role: str
    content: str | list[WireBlock]


def to_messages(
    system: str | list[WireBlock] | None, wire: Iterable[InputMessage]
) -> tuple[Message, ...]:
    """Translate; a user turn with tool results becomes a tool message and the rest of the turn."""
    messages: list[Message] = []
    if system:
        messages.append(Message("system", _parts(system, "system")))
    for i, message in enumerate(wire):
        messages.extend(_turn(message, f"messages[{i}]"))
    return tuple(messages)


def _turn(wire: InputMessage, path: str) -> Iterable[Message]:
    parts = _parts(wire.content, f"{path}.content")
    if wire.role in ("assistant", "system"):
        return [Message("assistant" if wire.role == "assistant" else "system", parts)]
    if wire.role != "user":
        raise BadRequest(f"{path}.role: unknown role", param=f"{path}.role")
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    rest = tuple(part for part in parts if not isinstance(part, ToolResult))
    turns = [Message("tool", results)] if results else []
    return [*turns, Message("user", rest)] if rest or not results else turns


def _parts(content: str | list[WireBlock], path: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(block, f"{path}[{i}]") for i, block in enumerate(content))


def _part(block: WireBlock, path: str) -> Part:
    match block:
        case WireBlock(type="text", text=str(text)):
            return Text(text)
        case WireBlock(type="image", source=WireSource() as source):
            return Image(source.data, source.media_type, source.url)
        case WireBlock(type="document", source=WireSource() as source):
            return Document(source.data, source.media_type, source.url, block.title)
        case WireBlock(type="tool_use", id=str(id_), name=str(name)):
            return ToolCall(id_, name, orjson.dumps(block.input or {}).decode())
        case WireBlock(type="tool_result", tool_use_id=str(id_)):
            return ToolResult(id_, _result(block.content, path), bool(block.is_error))
        case WireBlock(type="thinking", thinking=str(text)):
            return Reasoning(text, {"anthropic": {"signature": block.signature}})
        case WireBlock(type="redacted_thinking", data=str(data)):
            return Reasoning("", {"anthropic": {"redacted": data}})
    raise BadRequest(f"{path}: a block of this type cannot be translated", param=path)


def _result(content: Any, path: str) -> tuple[Text | Image, ...]:
    if content is None:
        return ()
    try:
        blocks = msgspec.convert(content, str | list[WireBlock])
    except msgspec.ValidationError:
        raise BadRequest(f"{path}.content: text or blocks are needed", param=path) from None
    parts = _parts(blocks, f"{path}.content")
    return tuple(part for part in parts if isinstance(part, (Text, Image)))
