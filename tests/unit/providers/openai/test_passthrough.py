"""The fast lane to OpenAI."""

import json

import msgspec

from hamlet.core import (
    ChatParams,
    NativeRequest,
)
from hamlet.providers.openai import OpenAI, Settings
from hamlet.providers.openai import passthrough as openai_wire
from hamlet.testing import sse_reply


def chunk_frame(delta: dict, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


async def test_invalid_role_is_removed(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(
        sse_reply(
            [
                chunk_frame({"role": "", "content": "Hi"}),
                b'data: {"odd":1}\n\n',
                chunk_frame({}, "stop"),
            ]
        )
    )
    request = NativeRequest("m", {"messages": msgspec.Raw(b"[]")}, stream=True)
    data = b"".join([c.data async for c in provider.native(request)])
    assert b'"role"' not in data
    assert b"odd" not in data
    assert data.endswith(b"data: [DONE]\n\n")


def test_native_path_rewrites_minimally() -> None:
    fields = {
        "model": msgspec.Raw(b'"route"'),
        "max_tokens": msgspec.Raw(b"99"),
        "odd": msgspec.Raw(b'{"kept" : [1e5]}'),
        "top_k": msgspec.Raw(b"3"),
    }
    request = NativeRequest("m", fields, False, ChatParams(max_tokens=5), frozenset({"top_k"}))
    sent = openai_wire.encode_native_request(request, "max_completion_tokens")
    assert json.loads(sent) == {"model": "m", "odd": {"kept": [1e5]}, "max_completion_tokens": 5}
    assert b'{"kept" : [1e5]}' in sent


async def test_pieces_estimate_the_tokens_of_a_read(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    frames = [
        chunk_frame({"content": "x" * 40}),
        chunk_frame({"tool_calls": [{}, {}]}),
        chunk_frame({}, "stop"),
    ]
    upstream.reply(sse_reply([b"".join(frames)]))
    chunks = [c async for c in provider.native(NativeRequest("m", {}, True))]
    assert sum(c.pieces for c in chunks) == 12
