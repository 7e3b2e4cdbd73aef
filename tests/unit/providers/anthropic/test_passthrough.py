"""The fast lane to Anthropic."""

import json

import msgspec

from hamlet.core import (
    ChatParams,
    NativeRequest,
)
from hamlet.providers.anthropic import passthrough as anthropic_wire


def test_anthropic_native_path_rewrites_nested_fields() -> None:
    fields = {
        "tools": msgspec.Raw(b"[]"),
        "tool_choice": msgspec.Raw(b'{"type":"any"}'),
        "output_config": msgspec.Raw(b'{"effort":"max","format":null}'),
    }
    over = ChatParams(parallel_tool_calls=False, reasoning_effort="minimal")
    sent = json.loads(anthropic_wire.encode_native_request(NativeRequest("m", fields, False, over)))
    assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert sent["output_config"] == {"effort": "low", "format": None}
    dropped = frozenset({"parallel_tool_calls", "reasoning_effort"})
    sent = json.loads(
        anthropic_wire.encode_native_request(NativeRequest("m", fields, False, dropped=dropped))
    )
    assert sent["tool_choice"] == {"type": "any"}
    assert sent["output_config"] == {"format": None}
