"""Parsing OpenAI Chat Completions requests into hamlet's core types.

Fields: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hamlet.api.body import Fields, decode, features_of, require_field, validate_params
from hamlet.api.dialects.openai.messages import WireMessage, to_messages
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

# Wire name -> portable name.
_PARAMS = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "n": "n",
    "parallel_tool_calls": "parallel_tool_calls",
    "reasoning_effort": "reasoning_effort",
    "verbosity": "verbosity",
    "user": "user",
}
# How many sets of parameters are cached, and the size of the largest one.
_MAX_CACHED_PARAMS, _MAX_CACHED_PARAM_BYTES = 512, 256
_STRUCTURAL_FIELDS = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "response_format",
}
_KNOWN_FIELDS = _PARAMS.keys() | _STRUCTURAL_FIELDS
# An escaped quote cannot end these, so user text that only mentions them does not match.
_PART_FEATURES = {
    b'"image_url"': Feature.IMAGES,
    b'"input_audio"': Feature.AUDIO,
    b'"file"': Feature.DOCUMENTS,
}
_NO_FEATURES: frozenset[Feature] = frozenset()
_FEATURE_PATTERN = re.compile(b"|".join(_PART_FEATURES))


class _RawMessage(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw()


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    function: _Function | None = None
    type: str = "function"


class _Schema(msgspec.Struct):
    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


def parse(fields: Fields, request_id: str, model: str | None = None) -> Call:
    """Read what routing needs; the messages stay undecoded until an adapter needs them.

    `model` comes from the path in the Azure form. Raises BadRequest.
    """
    name = model or decode(require_field(fields, "model"), str, "model")
    messages = require_field(fields, "messages")
    raw_messages = decode(messages, list[_RawMessage], "messages")
    if not raw_messages:
        raise BadRequest("messages: at least one is needed", param="messages")
    stream = decode(fields["stream"], bool | None, "stream") if "stream" in fields else False
    params = _params(fields)
    return Call(
        model=name,
        stream=bool(stream),
        params=params,
        features=_features(fields, params, raw_messages),
        build_request=lambda: _build_request(name, fields, params, bool(stream)),
        dialect="openai",
        fields=fields,
        request_id=request_id,
    )


def wants_usage(call: Call) -> bool:
    """Whether the caller asked for a usage frame at the end of the stream."""
    options = call.fields.get("stream_options")
    wanted = decode(options, dict[str, Any] | None, "stream_options") if options else None
    return bool(wanted and wanted.get("include_usage"))


def _params(fields: Fields) -> ChatParams:
    given = {wire: bytes(raw) for wire, raw in fields.items() if wire in _PARAMS}
    unknown = fields.keys() - _KNOWN_FIELDS
    if not unknown and sum(map(len, given.values())) <= _MAX_CACHED_PARAM_BYTES:
        return _cached_params(tuple(given.items()))
    return _build_params(given, {key: decode(fields[key], Any, key) for key in unknown})


@functools.lru_cache(maxsize=_MAX_CACHED_PARAMS)
def _cached_params(given: tuple[tuple[str, bytes], ...]) -> ChatParams:
    # The calls of one product differ in their messages and hardly in their parameters.
    return _build_params(dict(given), {})


def _build_params(given: Mapping[str, bytes], extra: dict[str, Any]) -> ChatParams:
    # In the table's order: of two names for the same parameter, the newer one takes precedence.
    portable: dict[str, Any] = {
        name: decode(given[wire], Any, wire) for wire, name in _PARAMS.items() if wire in given
    }
    if isinstance(portable.get("stop"), str):
        portable["stop"] = (portable["stop"],)
    if extra:
        portable["extra"] = extra
    return validate_params(portable)


def _features(
    fields: Fields, params: ChatParams, raw_messages: Sequence[_RawMessage]
) -> frozenset[Feature]:
    found = features_of(raw_messages, _FEATURE_PATTERN, _PART_FEATURES)
    if "tools" in fields and decode(fields["tools"], list[_Tool] | None, "tools"):
        found.add(Feature.TOOLS)
    if (params.n or 1) > 1:
        found.add(Feature.CHOICES)
    kind = _output(fields).kind
    if kind != "text":
        found.add(Feature.JSON if kind == "json" else Feature.JSON_SCHEMA)
    return frozenset(found) if found else _NO_FEATURES


def _build_request(model: str, fields: Fields, params: ChatParams, stream: bool) -> ChatRequest:
    return ChatRequest(
        model=model,
        messages=to_messages(decode(fields["messages"], list[WireMessage], "messages")),
        tools=_tools(fields),
        tool_choice=_tool_choice(fields),
        output=_output(fields),
        params=params,
        stream=stream,
    )


def _tools(fields: Fields) -> tuple[Tool, ...]:
    wire = decode(fields["tools"], list[_Tool] | None, "tools") if "tools" in fields else None
    if any(tool.function is None for tool in wire or ()):
        raise BadRequest("tools: only tools of type function can be translated", param="tools")
    return tuple(
        Tool(f.name, f.description, f.parameters or {}, f.strict)
        for tool in wire or ()
        if (f := tool.function)
    )


def _tool_choice(fields: Fields) -> ToolChoice | None:
    if "tool_choice" not in fields:
        return None
    choice = decode(fields["tool_choice"], Any, "tool_choice")
    if choice is None or choice in ("auto", "none", "required"):
        return choice  # type: ignore[no-any-return]
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise BadRequest("tool_choice: auto, none, required or a function", param="tool_choice")
    return NamedTool(name)


def _output(fields: Fields) -> Output:
    if "response_format" not in fields:
        return TEXT_OUTPUT
    wanted = decode(fields["response_format"], _Format | None, "response_format")
    if wanted is None or wanted.type == "text":
        return TEXT_OUTPUT
    if wanted.type == "json_object":
        return Output("json")
    if wanted.type == "json_schema" and wanted.json_schema:
        schema = wanted.json_schema
        return Output("schema", schema.name, schema.schema or {}, schema.strict)
    raise BadRequest("response_format: text, json_object or json_schema", param="response_format")
