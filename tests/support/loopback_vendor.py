"""A loopback vendor that responds to the request like a model, in the vendor's format."""

import base64
import json
from typing import Any

from hamlet.core import FinishReason, Text, ToolCall, Usage, pack
from hamlet.testing import Canned, Received, Wire, json_reply, sse_reply
from hamlet.testing.cases import chat_response
from support.vendor_wires import AnthropicWire, OpenAIWire

VENDOR_ANSWER_TEXT = "안녕하세요, this is the vendor. 東京。"
USAGE = Usage(input_tokens=20, output_tokens=9, cache_read_tokens=5)


def wire_for(request: Received) -> Wire:
    """The wire format of the vendor that has this path."""
    anthropic = request.path.startswith("/v1/messages")
    return AnthropicWire() if anthropic else OpenAIWire("openai", "max_tokens")


def respond(request: Received) -> Canned:
    """Respond as a vendor: models, embeddings, and tool calls or JSON if requested."""
    if request.path.endswith("/models"):
        return json_reply({"object": "list", "data": [{"id": "m", "object": "model"}]})
    if request.path.endswith("/embeddings"):
        return _embeddings(request.json)
    wire, body = wire_for(request), request.json
    answer = _choose_answer(body)
    if body.get("stream"):
        return sse_reply(wire.frames(answer))
    return json_reply(wire.whole(answer))


def _choose_answer(body: dict[str, Any]) -> Any:
    text = json.dumps(body, ensure_ascii=False)
    if "tool_call_id" in text or "tool_result" in text:
        return chat_response(Text("It is sunny in Seoul."), usage=USAGE)
    if body.get("tools"):
        call = ToolCall("call_1", "weather", '{"city":"Seoul"}')
        return chat_response(call, reason=FinishReason.TOOL_CALLS, usage=USAGE)
    if "response_format" in body or "output_config" in body:
        return chat_response(Text('{"city":"Seoul"}'), usage=USAGE)
    if "image/png" in text:
        return chat_response(Text("I see a pixel."), usage=USAGE)
    return chat_response(Text(VENDOR_ANSWER_TEXT), usage=USAGE)


def _embeddings(body: dict[str, Any]) -> Canned:
    rows = [
        {"index": i, "embedding": base64.b64encode(pack([float(i), 0.5])).decode()}
        for i, _ in enumerate(body["input"])
    ]
    return json_reply({"data": rows, "model": "e", "usage": {"prompt_tokens": 3}})
