"""The messages of an OpenAI request, typed, and their translation."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hamlet.core import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from hamlet.core.errors import BadRequest

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class WireUrl(msgspec.Struct):
    url: str
    detail: str | None = None


class WireAudio(msgspec.Struct):
    data: str
    format: str


class WireFile(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class WirePart(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: WireUrl | None = None
    input_audio: WireAudio | None = None
    file: WireFile | None = None


class WireFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class WireCall(msgspec.Struct):
    id: str
    function: WireFunction


class WireMessage(msgspec.Struct):
    role: str
    content: str | list[WirePart] | None = None
    name: str | None = None
    tool_calls: list[WireCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None


def to_messages(wire: Iterable[WireMessage]) -> tuple[Message, ...]:
    """Translate to core messages. Raises BadRequest for what has no equivalent."""
    return tuple(_message(message, f"messages[{i}]") for i, message in enumerate(wire))


def _message(wire: WireMessage, path: str) -> Message:
    role = _ROLES.get(wire.role)
    if role is None:
        raise BadRequest(f"{path}.role: unknown role", param=f"{path}.role")
    meta = {"openai": {"role": wire.role}} if wire.role == "developer" else None
    parts = _parts(wire.content, path)
    if role == "tool":
        return Message(role, (_result(wire, parts, path),))
    reasoning = (Reasoning(wire.reasoning_content),) if wire.reasoning_content else ()
    refusal = (Text(wire.refusal),) if wire.refusal else ()
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in wire.tool_calls or ()
    )
    return Message(role, (*reasoning, *parts, *refusal, *calls), wire.name, meta)


def _result(wire: WireMessage, parts: tuple[Part, ...], path: str) -> ToolResult:
    if wire.tool_call_id is None and wire.name is None:
        raise BadRequest(f"{path}.tool_call_id: this field is needed", param=path)
    shown = tuple(part for part in parts if isinstance(part, (Text, Image)))
    return ToolResult(wire.tool_call_id or wire.name or "", shown)


def _parts(content: str | list[WirePart] | None, path: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(part, f"{path}.content[{i}]") for i, part in enumerate(content))


def _part(part: WirePart, path: str) -> Part:
    match part:
        case WirePart(type="text", text=str(text)):
            return Text(text)
        case WirePart(type="refusal", refusal=str(text)):
            return Text(text)
        case WirePart(type="image_url", image_url=WireUrl() as image):
            meta = {"openai": {"detail": image.detail}} if image.detail else None
            if match := _DATA_URL.fullmatch(image.url):
                return Image(data=match[2], media_type=match[1], meta=meta)
            return Image(url=image.url, meta=meta)
        case WirePart(type="input_audio", input_audio=WireAudio() as audio):
            return Audio(audio.data, audio.format)
        case WirePart(type="file", file=WireFile() as file) if file.file_data:
            match = _DATA_URL.fullmatch(file.file_data)
            data, kind = (match[2], match[1]) if match else (file.file_data, "application/pdf")
            return Document(data=data, media_type=kind, name=file.filename)
    raise BadRequest(f"{path}: this part cannot be read", param=path)
