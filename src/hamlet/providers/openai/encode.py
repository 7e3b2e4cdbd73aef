"""Encodes hamlet's requests as bodies of the Chat Completions API.

Fields: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hamlet.core import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    NamedTool,
    Output,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)


def encode_request(request: ChatRequest, max_tokens_field: str, kind: str) -> dict[str, Any]:
    """The JSON object to send. `kind` selects the provider options of this adapter."""
    sent: dict[str, Any] = {
        "model": request.model,
        "messages": [wire for message in request.messages for wire in _message(message)],
        **encode_params(request.params.wire_fields(), max_tokens_field),
        **request.params.extra,
    }
    if request.tools:
        sent["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        sent["tool_choice"] = _tool_choice(request.tool_choice)
    if request.output.kind != "text":
        sent["response_format"] = _response_format(request.output)
    if request.stream:
        sent |= {"stream": True, "stream_options": {"include_usage": True}}
    return sent | dict(request.provider_options.get(kind, {}))


def encode_params(sent: dict[str, Any], max_tokens_field: str) -> dict[str, Any]:
    """Portable parameters under the names of the API."""
    return {max_tokens_field if name == "max_tokens" else name: sent[name] for name in sent}


def _message(message: Message) -> Iterable[dict[str, Any]]:
    if message.role == "tool":
        yield from _tool_messages(message)
        return
    openai_meta = (message.meta or {}).get("openai") or {}
    wire: dict[str, Any] = {"role": openai_meta.get("role", message.role)}
    calls = [_tool_call(part) for part in message.parts if isinstance(part, ToolCall)]
    wire["content"] = _content(message.parts) or (None if calls else "")
    if message.name:
        wire["name"] = message.name
    if calls:
        wire["tool_calls"] = calls
    yield wire


def _tool_messages(message: Message) -> Iterable[dict[str, Any]]:
    images: list[dict[str, Any]] = []
    for result in message.parts:
        if isinstance(result, ToolResult):
            text = "".join(part.text for part in result.parts if isinstance(part, Text))
            yield {"role": "tool", "tool_call_id": result.call_id, "content": text}
            images += [_image(part) for part in result.parts if isinstance(part, Image)]
    if images:
        # Tool messages take text only; images of a tool follow in a user message.
        yield {"role": "user", "content": images}


def _content(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    shown = [part for part in parts if isinstance(part, (Text, Image, Audio, Document))]
    if all(isinstance(part, Text) for part in shown) and len(shown) <= 1:
        return "".join(part.text for part in shown if isinstance(part, Text))
    return [_part(part) for part in shown]


def _part(part: Text | Image | Audio | Document) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return _image(part)
        case Audio():
            audio = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": audio}
        case Document():
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            return {"type": "file", "file": {"file_data": url, "filename": part.name or "file"}}


def _image(part: Image) -> dict[str, Any]:
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    openai_meta = (part.meta or {}).get("openai") or {}
    return {"type": "image_url", "image_url": {"url": url, **openai_meta}}


def _tool_call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": dict(tool.parameters)}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> Any:
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return choice


def _response_format(output: Output) -> dict[str, Any]:
    if output.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name, "schema": dict(output.schema or {})}
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}
