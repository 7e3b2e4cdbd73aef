"""Parsing Anthropic Messages requests into hamlet's core types.

Fields: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from hamlet.api.body import Fields, decode, features_of, require_field, validate_params
from hamlet.api.dialects.anthropic.messages import InputMessage, WireBlock, to_messages
from hamlet.core import (
    TEXT_OUTPUT,
    ChatParams,
    ChatRequest,
    Feature,
    NamedTool,
    Output,
    Tool,
    ToolChoice,
)
from hamlet.core.errors import BadRequest
from hamlet.gateway import Call

_PARAMS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
_STRUCTURAL_FIELDS = {
    "model",
    "messages",
    "system",
    "stream",
    "tools",
    "tool_choice",
    "thinking",
    "metadata",
    "output_config",
    "output_format",
}
_KNOWN_FIELDS = _PARAMS.keys() | _STRUCTURAL_FIELDS
_PART_FEATURES = {b'"image"': Feature.IMAGES, b'"document"': Feature.DOCUMENTS}
_FEATURE_PATTERN = re.compile(b"|".join(_PART_FEATURES))


class _RawMessage(msgspec.Struct):
    role: str
    content: msgspec.Raw


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class _AnyTool(msgspec.Struct):
    """A tool; the vendor's built-in ones have no schema."""

    name: str | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None
    effort: str | None = None


def parse(fields: Fields, request_id: str) -> Call:
    """Read what routing needs; the messages stay undecoded until an adapter needs them."""
    model = decode(require_field(fields, "model"), str, "model")
    require_field(fields, "max_tokens")
    raw_messages = decode(require_field(fields, "messages"), list[_RawMessage], "messages")
    if not raw_messages:
        raise BadRequest("messages: at least one is needed", param="messages")
    stream = bool(_decode_optional(fields, "stream", bool | None))
    params = _params(fields)
    return Call(
        model=model,
        stream=stream,
        params=params,
        features=_features(fields, raw_messages),
        build_request=lambda: _build_request(model, fields, params, stream),
        dialect="anthropic",
        fields=fields,
        request_id=request_id,
    )


def _decode_optional(fields: Fields, name: str, kind: Any) -> Any:
    return decode(fields[name], kind, name) if name in fields else None


def _params(fields: Fields) -> ChatParams:
    portable: dict[str, Any] = {
        name: decode(fields[wire], Any, wire) for wire, name in _PARAMS.items() if wire in fields
    }
    if metadata := _decode_optional(fields, "metadata", _Metadata | None):
        portable["user"] = metadata.user_id
    choice = _decode_optional(fields, "tool_choice", _Choice | None)
    if choice and choice.disable_parallel_tool_use is not None:
        portable["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    thinking = _decode_optional(fields, "thinking", _Thinking | None)
    if thinking and thinking.type == "enabled":
        portable["reasoning_tokens"] = thinking.budget_tokens
    config = _decode_optional(fields, "output_config", _OutputConfig | None)
    if config and config.effort:
        portable["reasoning_effort"] = config.effort
    if extra := {key: decode(fields[key], Any, key) for key in fields.keys() - _KNOWN_FIELDS}:
        portable["extra"] = extra
    return validate_params(portable)


def _features(fields: Fields, raw_messages: Sequence[_RawMessage]) -> frozenset[Feature]:
    found = features_of(raw_messages, _FEATURE_PATTERN, _PART_FEATURES)
    if _decode_optional(fields, "tools", list[_AnyTool] | None):
        found.add(Feature.TOOLS)
    if _output(fields).kind == "schema":
        found.add(Feature.JSON_SCHEMA)
    return frozenset(found)


def _build_request(model: str, fields: Fields, params: ChatParams, stream: bool) -> ChatRequest:
    system = _decode_optional(fields, "system", str | list[WireBlock] | None)
    messages = decode(fields["messages"], list[InputMessage], "messages")
    return ChatRequest(
        model=model,
        messages=to_messages(system, messages),
        tools=_tools(fields),
        tool_choice=_tool_choice(fields),
        output=_output(fields),
        params=params,
        stream=stream,
    )


def _tools(fields: Fields) -> tuple[Tool, ...]:
    tools = _decode_optional(fields, "tools", list[_Tool] | None) or []
    if any(tool.type not in (None, "custom") for tool in tools):
        raise BadRequest("tools: a vendor's own tools cannot be translated", param="tools")
    return tuple(Tool(t.name, t.description, t.input_schema or {}) for t in tools)


def _tool_choice(fields: Fields) -> ToolChoice | None:
    choice = _decode_optional(fields, "tool_choice", _Choice | None)
    match choice:
        case None:
            return None
        case _Choice(type="tool", name=str(name)):
            return NamedTool(name)
        case _Choice(type="any"):
            return "required"
        case _Choice(type="auto" | "none" as kind):
            return "auto" if kind == "auto" else "none"
    raise BadRequest("tool_choice: auto, any, none or tool", param="tool_choice")


def _output(fields: Fields) -> Output:
    config = _decode_optional(fields, "output_config", _OutputConfig | None)
    wanted = (config.format if config else None) or _decode_optional(
        fields, "output_format", _Format | None
    )
    if wanted is None or wanted.type != "json_schema":
        return TEXT_OUTPUT
    return Output("schema", schema=wanted.schema or {})
