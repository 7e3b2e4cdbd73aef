"""Messages of a conversation, made of typed parts, the same for every vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Meta = Mapping[str, Any]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image, either inline (`data`: base64 text, with `media_type`) or by `url`."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Inline audio: base64 `data` in `format` (wav, mp3)."""

    data: str
    format: str
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A file: base64 `data` with `media_type`, or a `url`; `name` is what the model sees."""

    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    name: str | None = None
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Visible reasoning. Opaque vendor tokens (signatures) travel in `meta[kind]`."""

    text: str
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool; `arguments` is JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str
    meta: Meta | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of the tool call `call_id`."""

    call_id: str
    parts: tuple[Text | Image, ...]
    is_error: bool = False
    meta: Meta | None = None


Part = Text | Image | Audio | Document | Reasoning | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `meta` holds vendor-specific data, keyed by provider kind."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    meta: Meta | None = None

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))
