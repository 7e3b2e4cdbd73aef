"""Responses and chunks that deviate from the API reference."""

import json
from dataclasses import replace

import pytest

from hamlet.core import (
    NativeRequest,
    Terms,
    errors,
)
from hamlet.providers.openai import OpenAI, Settings
from hamlet.testing import json_reply, sse_reply
from hamlet.testing.cases import chat_request
from hamlet.testing.support import run_chat


def chunk_frame(delta: dict, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


async def test_missing_ids_and_missing_done(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(sse_reply([chunk_frame({"content": "Hi"}), chunk_frame({}, "stop")]))
    got = await run_chat(provider, chat_request(stream=True))
    assert (got.text, got.model) == ("Hi", "model-1")
    assert got.id


async def test_new_id_starts_a_tool_call_at_the_same_index(upstream, host) -> None:
    def call(id_: str, city: str) -> dict:
        function = {"name": "weather", "arguments": json.dumps({"city": city})}
        return {"tool_calls": [{"index": 0, "id": id_, "function": function}]}

    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(
        sse_reply(
            [
                chunk_frame(call("a", "Seoul")),
                chunk_frame(call("b", "Tokyo")),
                chunk_frame({}, "tool_calls"),
            ]
        )
    )
    got = await run_chat(provider, chat_request(stream=True))
    assert [part.id for part in got.parts] == ["a", "b"]


async def test_an_error_object_under_200_is_an_error(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(json_reply({"error": {"code": 429, "message": "slow down"}}))
    with pytest.raises(errors.RateLimited):
        await run_chat(provider, chat_request())


ODD_COUNTS = [None, "lots", 3, [], {"prompt_tokens": "9", "completion_tokens": -1}, {"x": 1}]


@pytest.mark.parametrize("usage", [*ODD_COUNTS, {"prompt_tokens_details": "x"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_invalid_token_counts_are_ignored(upstream, host, usage, stream) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    frames = [
        chunk_frame({"content": "Hi"}),
        chunk_frame({}, "stop", usage=usage),
        b"data: [DONE]\n\n",
    ]
    upstream.reply(sse_reply(frames) if stream else json_reply(whole))
    got = await run_chat(provider, chat_request(stream=stream))
    assert (got.text, got.usage.input_tokens, got.usage.output_tokens) == ("Hi", None, None)
    native = [c async for c in provider.native(NativeRequest("m", {}, stream))]
    assert native[-1].end


async def test_done_ends_a_stream_with_content_only(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    done = b"data: [DONE]\n\n"
    upstream.reply(sse_reply([chunk_frame({"content": "Hi"}), done]))
    assert (await run_chat(provider, chat_request(stream=True))).text == "Hi"
    assert [c async for c in provider.native(NativeRequest("m", {}, True))][-1].end
    upstream.reply(sse_reply([chunk_frame({"role": "assistant"}), done]))
    with pytest.raises(errors.EmptyAnswer):
        [c async for c in provider.native(NativeRequest("m", {}, True))]


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"choices":[],"usage":{}}'])
async def test_response_without_choices_is_empty(upstream, host, body: bytes) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(json_reply(body))
    with pytest.raises(errors.EmptyAnswer):
        await run_chat(provider, chat_request())
    with pytest.raises(errors.EmptyAnswer):
        [c async for c in provider.native(NativeRequest("m", {}, False))]


@pytest.mark.parametrize("odd", [b'{"choices":[3]}', b'{"choices":[{"delta":3}]}', b"[]"])
async def test_invalid_chunk_is_a_protocol_error(upstream, host, odd: bytes) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(sse_reply([chunk_frame({"content": "Hi"}), b"data: " + odd + b"\n\n"]))
    with pytest.raises(errors.UpstreamProtocol):
        await run_chat(provider, chat_request(stream=True))
    with pytest.raises(errors.UpstreamProtocol):
        [c async for c in provider.native(NativeRequest("m", {}, True))]


FILTER_SKIPPED = {
    "error": {"code": "content_filter_error", "message": "The contents are not filtered"}
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["choice", "prompt"])
async def test_unfiltered_response_is_rejected_if_required(
    upstream, host, stream: bool, where: str
) -> None:
    choice = {"message": {"content": "Hi"}, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    body: dict = {"choices": [choice]}
    if where == "choice":
        choice["content_filter_result"] = FILTER_SKIPPED
    else:
        body["prompt_filter_results"] = [{"content_filter_results": FILTER_SKIPPED}]
    frames = [b"data: " + json.dumps(body).encode() + b"\n\n", b"data: [DONE]\n\n"]
    upstream.reply(sse_reply(frames) if stream else json_reply(body))
    provider = OpenAI(Settings(base_url=upstream.url), host)
    strict = Terms(require_filter=True)
    assert (await run_chat(provider, chat_request(stream=stream))).text == "Hi"
    with pytest.raises(errors.Unfiltered):
        await run_chat(provider, replace(chat_request(stream=stream), terms=strict))
    with pytest.raises(errors.Unfiltered):
        [c async for c in provider.native(NativeRequest("m", {}, stream, terms=strict))]
    said = {"choices": [{**choice, "delta": {"content": '"content_filter_error"'}}]}
    said["choices"][0].pop("content_filter_result", None)
    frames[0] = b"data: " + json.dumps(said).encode() + b"\n\n"
    upstream.reply(sse_reply(frames))
    assert [c async for c in provider.native(NativeRequest("m", {}, True, terms=strict))][-1].end
