"""Encodes hamlet's requests as bodies of the Messages API.

Fields: https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from hamlet.core import (
    ChatParams,
    ChatRequest,
    Document,
    Image,
    Message,
    NamedTool,
    Output,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from hamlet.core.errors import InvalidRequest

_WIRE_NAMES = {"stop": "stop_sequences"}
_TOP_LEVEL_PARAMS = ("max_tokens", "temperature", "top_p", "top_k", "stop")
# This API's scale has no equivalent of hamlet's lowest two.
_EFFORT_ALIASES = {"none": "low", "minimal": "low"}


def encode_request(request: ChatRequest, default_max_tokens: int) -> dict[str, Any]:
    """The JSON object to send."""
    sent: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request.messages),
        "max_tokens": default_max_tokens,
        **encode_params(request.params),
        **request.params.extra,
    }
    if system := _system(request.messages):
        sent["system"] = system
    if request.tools:
        sent["tools"] = [_tool(tool) for tool in request.tools]
    if choice := _tool_choice(request):
        sent["tool_choice"] = choice
    if config := _output_config(request.output, request.params):
        sent["output_config"] = config
    if request.stream:
        sent["stream"] = True
    return sent | dict(request.provider_options.get("anthropic", {}))


def encode_params(given: ChatParams) -> dict[str, Any]:
    """Portable parameters that are top-level fields of this API."""
    sent = given.wire_fields()
    wire = {_WIRE_NAMES.get(name, name): sent[name] for name in _TOP_LEVEL_PARAMS if name in sent}
    if sent.get("user"):
        wire["metadata"] = {"user_id": sent["user"]}
    if sent.get("reasoning_tokens"):
        wire["thinking"] = {"type": "enabled", "budget_tokens": sent["reasoning_tokens"]}
    return wire


def encode_effort(given: ChatParams) -> str | None:
    """The reasoning effort on this API's scale."""
    requested = given.reasoning_effort
    return _EFFORT_ALIASES.get(requested, requested) if requested else None


def _messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [block for part in message.parts for block in _block(part)]
        # Results of parallel calls must be in one turn, and turns must alternate.
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _system(messages: Iterable[Message]) -> str | list[dict[str, Any]]:
    texts = [m.text for m in messages if m.role == "system" and m.text]
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _block(part: Part) -> Iterable[dict[str, Any]]:
    match part:
        case Text():
            # Empty text blocks are refused.
            return [{"type": "text", "text": part.text}] if part.text else []
        case Image():
            return [{"type": "image", "source": _source(part)}]
        case Document():
            title = {"title": part.name} if part.name else {}
            return [{"type": "document", "source": _source(part), **title}]
        case ToolCall():
            call = {"id": part.id, "name": part.name, "input": _tool_input(part)}
            return [{"type": "tool_use", **call}]
        case ToolResult():
            return [_tool_result(part)]
        case Reasoning():
            return _thinking(part)
    raise InvalidRequest("this model takes no audio")


def _source(part: Image | Document) -> dict[str, Any]:
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}


def _tool_input(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"the arguments of tool call {call.id!r} are not a JSON object")
    return arguments


def _tool_result(part: ToolResult) -> dict[str, Any]:
    content = [block for inner in part.parts for block in _block(inner)]
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    if content:
        result["content"] = content
    if part.is_error:
        result["is_error"] = True
    return result


def _thinking(part: Reasoning) -> list[dict[str, Any]]:
    own = (part.meta or {}).get("anthropic") or {}
    if redacted := own.get("redacted"):
        return [{"type": "redacted_thinking", "data": redacted}]
    if signature := own.get("signature"):
        return [{"type": "thinking", "thinking": part.text, "signature": signature}]
    # Reasoning of other vendors has no signature, without which this API refuses it.
    return []


def _tool(tool: Tool) -> dict[str, Any]:
    schema = dict(tool.parameters) or {"type": "object"}
    wire: dict[str, Any] = {"name": tool.name, "input_schema": schema}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return wire


def _tool_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice: dict[str, Any] | None
    match request.tool_choice:
        case NamedTool(name):
            choice = {"type": "tool", "name": name}
        case "required":
            choice = {"type": "any"}
        case "none":
            return {"type": "none"}
        case "auto":
            choice = {"type": "auto"}
        case _:
            choice = None
    parallel = request.params.parallel_tool_calls
    if parallel is not None and request.tools:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": not parallel}
    return choice


def _output_config(output: Output, given: ChatParams) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if output.kind == "schema":
        config["format"] = {"type": "json_schema", "schema": dict(output.schema or {})}
    if effort_level := encode_effort(given):
        config["effort"] = effort_level
    return config
