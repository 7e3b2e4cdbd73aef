"""What vendors do that their references do not promise, and sign-ins."""

import json
from dataclasses import replace

import msgspec
import pytest

from hamlet.core import (
    Audio,
    ChatParams,
    ChatRequest,
    Document,
    Image,
    Message,
    NativeRequest,
    Output,
    Reasoning,
    Terms,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    errors,
)
from hamlet.providers.anthropic import Anthropic, AnthropicSettings
from hamlet.providers.anthropic import encode as anthropic_encode
from hamlet.providers.anthropic import passthrough as anthropic_wire
from hamlet.providers.anthropic.errors import error_class as anthropic_classify
from hamlet.providers.embedded.structured import SchemaFiller
from hamlet.providers.openai import OpenAI, Settings
from hamlet.providers.openai import encode as openai_encode
from hamlet.providers.openai import passthrough as openai_wire
from hamlet.providers.openai.errors import error_class as openai_classify
from hamlet.providers.openai.errors import in_band_error
from hamlet.testing import Received, json_reply, sse_reply
from hamlet.testing.cases import WEATHER, chat_request, chat_response
from hamlet.testing.support import run_chat
from support.vendor_wires import OpenAIWire

WIRE = OpenAIWire("openai", "max_completion_tokens")


def chunk_frame(delta: dict, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


async def test_ids_may_be_missing_and_done_may_never_come(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(sse_reply([chunk_frame({"content": "Hi"}), chunk_frame({}, "stop")]))
    got = await run_chat(provider, chat_request(stream=True))
    assert (got.text, got.model) == ("Hi", "model-1")
    assert got.id


async def test_every_call_may_have_index_0_and_a_new_id_tells_them_apart(upstream, host) -> None:
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


async def test_a_role_that_clients_choke_on_is_taken_out_of_the_fast_lane(upstream, host) -> None:
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


def test_openai_carries_every_part_it_can() -> None:
    parts = (Text("a"), Audio("d", "wav"), Document("d", "application/pdf", name="f"))
    shown = Message("tool", (ToolResult("c", (Text("t"), Image(url="https://x"))),))
    request = ChatRequest(
        "m",
        (Message("user", parts, name="kim"), shown),
        tools=(Tool("f", strict=True),),
        output=Output("json"),
    )
    sent = openai_encode.encode_request(request, "max_tokens", "openai")
    assert [part["type"] for part in sent["messages"][0]["content"]] == [
        "text",
        "input_audio",
        "file",
    ]
    assert sent["messages"][0]["name"] == "kim"
    assert [m["role"] for m in sent["messages"][1:]] == ["tool", "user"]
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["tools"][0]["function"]["strict"] is True


def test_anthropic_merges_turns_and_keeps_what_it_signed() -> None:
    signed = Reasoning("hm", {"anthropic": {"signature": "s"}})
    hidden = Reasoning("", {"anthropic": {"redacted": "r"}})
    request = ChatRequest(
        "m",
        (
            Message("system", (Text("one"),)),
            Message("system", (Text("two"),)),
            Message("assistant", (signed, hidden, Reasoning("unsigned"), Text(""))),
            Message("tool", (ToolResult("a", (), is_error=True),)),
            Message("tool", (ToolResult("b", (Image(url="https://x"),)),)),
            Message("user", (Document("d", "application/pdf", name="f"),)),
        ),
        tools=(WEATHER,),
        params=ChatParams(
            parallel_tool_calls=False, reasoning_tokens=2000, user="u", reasoning_effort="high"
        ),
    )
    sent = anthropic_encode.encode_request(request, 10)
    assert [block["text"] for block in sent["system"]] == ["one", "two"]
    assert [turn["role"] for turn in sent["messages"]] == ["assistant", "user"]
    assert [b["type"] for b in sent["messages"][0]["content"]] == ["thinking", "redacted_thinking"]
    kinds = [b["type"] for b in sent["messages"][1]["content"]]
    assert kinds == ["tool_result", "tool_result", "document"]
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert sent["metadata"] == {"user_id": "u"}
    assert sent["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    "part", [Audio("d", "wav"), ToolCall("c", "f", "not json"), ToolCall("c", "f", "[1]")]
)
def test_anthropic_refuses_what_it_cannot_say(part) -> None:
    with pytest.raises(errors.InvalidRequest):
        anthropic_encode.encode_request(ChatRequest("m", (Message("user", (part,)),)), 10)


@pytest.mark.parametrize(
    ("classify", "status", "error", "kind"),
    [
        (openai_classify, 429, {"code": "insufficient_quota"}, errors.QuotaExhausted),
        (openai_classify, 400, {"code": "context_length_exceeded"}, errors.ContextTooLong),
        (
            openai_classify,
            400,
            {"innererror": {"code": "ResponsibleAIPolicyViolation"}},
            errors.ContentBlocked,
        ),
        (openai_classify, 429, {"message": "experiencing high demand"}, errors.Overloaded),
        (openai_classify, 400, {"code": "other"}, None),
        (
            anthropic_classify,
            429,
            {"details": {"error_code": "enforced_spend_limit_reached"}},
            errors.QuotaExhausted,
        ),
        (
            anthropic_classify,
            400,
            {"message": "Your credit balance is too low"},
            errors.QuotaExhausted,
        ),
        (
            anthropic_classify,
            400,
            {"message": "prompt is too long: 9 tokens"},
            errors.ContextTooLong,
        ),
        (anthropic_classify, 500, {"type": "overloaded_error"}, errors.Overloaded),
    ],
)
def test_codes_say_more_than_the_status(classify, status, error, kind) -> None:
    assert classify(status, {"error": error}) is kind
    assert classify(status, {"error": "flat"}) is None


def test_in_band_error_is_classified_by_its_type() -> None:
    assert type(in_band_error({"error": "flat"})) is errors.UpstreamUnavailable
    assert type(in_band_error({"error": {"type": "authentication_error"}})) is errors.UpstreamAuth


class EntraServer:
    """Plays the sign-in and the resource behind it."""

    def __init__(self) -> None:
        self.tokens_issued = 0
        self.is_refusing = False

    def __call__(self, request: Received):
        if request.path.endswith("/token"):
            self.tokens_issued += 1
            return json_reply({"access_token": f"token-{self.tokens_issued}", "expires_in": 3600})
        if self.is_refusing:
            return json_reply({"error": {"message": "no"}}, 401)
        return json_reply(WIRE.whole(chat_response(Text("Hi."))))


@pytest.mark.parametrize("proof", ["secret", "file"])
async def test_entra_token_is_cached_and_renewed_on_401(upstream, host, tmp_path, proof) -> None:
    (tmp_path / "token").write_text("workload-jwt\n")
    proofs = {
        "secret": {"client_secret": "cs-0123456789"},
        "file": {"federated_token_file": str(tmp_path / "token")},
    }
    entra = EntraServer()
    upstream.respond(entra)
    settings = {
        "base_url": upstream.url,
        "authority": upstream.url,
        "auth": "entra",
        "tenant_id": "t",
        "client_id": "c",
        **proofs[proof],
    }
    provider = OpenAI(Settings.model_validate(settings), host)
    for _ in range(2):
        await run_chat(provider, chat_request())
    assert entra.tokens_issued == 1
    assert upstream.requests[-1].headers["authorization"] == "Bearer token-1"
    form = upstream.requests[0].body.decode()
    assert ("client_secret=cs-0123456789" in form) == (proof == "secret")
    assert ("client_assertion=workload-jwt" in form) == (proof == "file")
    entra.is_refusing = True
    with pytest.raises(errors.UpstreamAuth):
        await run_chat(provider, chat_request())
    entra.is_refusing = False
    await run_chat(provider, chat_request())
    assert entra.tokens_issued == 2


async def test_a_refused_sign_in_is_an_auth_error(upstream, host, tmp_path) -> None:
    settings = {"base_url": upstream.url, "authority": upstream.url, "auth": "entra"}
    settings |= {"tenant_id": "t", "client_id": "c"}
    provider = OpenAI(Settings.model_validate(settings | {"client_secret": "s"}), host)
    for reply in (json_reply({}, 400), json_reply({}), json_reply(b"<html>")):
        upstream.reply(reply)
        with pytest.raises(errors.UpstreamAuth):
            await run_chat(provider, chat_request())
    missing = settings | {"federated_token_file": str(tmp_path / "none")}
    provider = OpenAI(Settings.model_validate(missing), host)
    with pytest.raises(errors.UpstreamAuth, match="FileNotFoundError"):
        await run_chat(provider, chat_request())
    for wrong in (
        {"auth": "entra"},
        settings,
        settings | {"client_secret": "s", "federated_token_file": "f"},
    ):
        with pytest.raises(ValueError, match="entra needs"):
            Settings.model_validate(wrong)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"base_url": "https://r.openai.azure.com/openai/v1"}, "api-key"),
        ({"api_version": "v"}, "api-key"),
        ({"api_version": "v", "auth": "bearer"}, "authorization"),
        ({}, "authorization"),
    ],
)
def test_the_key_goes_into_the_header_that_the_host_reads(settings, header) -> None:
    assert list(Settings.model_validate({**settings, "api_key": "k"}).auth_header) == [header]
    assert Settings(organization="o", project="p").account_headers == {
        "openai-organization": "o",
        "openai-project": "p",
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda u, h: OpenAI(Settings(base_url=u), h),
        lambda u, h: Anthropic(AnthropicSettings(base_url=u), h),
    ],
)
async def test_lists_models_and_probes(upstream, host, make) -> None:
    provider = make(upstream.url, host)
    upstream.reply(json_reply({"data": [{"id": "m-1"}]}))
    assert await provider.models() == ["m-1"]
    await provider.probe()
    upstream.reply(json_reply([]))
    with pytest.raises(errors.UpstreamProtocol):
        await provider.models()
    upstream.reply(json_reply({}, 503))
    with pytest.raises(errors.Overloaded):
        await provider.probe()


def test_the_embedded_model_fills_schemas_from_the_text() -> None:
    schema = {
        "properties": {
            "size": {"enum": ["small", "large"]},
            "count": {"type": "integer", "minimum": 3},
            "ratio": {"type": ["null", "number"], "maximum": 1},
            "note": {"type": "string", "maxLength": 10},
            "tags": {"type": "array", "items": {"const": "x"}, "minItems": 2},
            "nested": {"$ref": "#/$defs/n"},
            "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "nothing": {"type": "null"},
        },
        "$defs": {
            "n": {"type": "object", "properties": {"low": {"type": "number", "minimum": 50}}}
        },
    }
    filled = SchemaFiller("Send a large box. There are 12 of them, 0.5 each.", schema).fill()
    assert filled == {
        "size": "large",
        "count": 12,
        "ratio": 0.5,
        "note": filled["note"],
        "tags": ["x", "x"],
        "nested": {"low": 50.0},
        "either": False,
        "nothing": None,
    }
    assert 0 < len(filled["note"]) <= 10
    assert SchemaFiller("", {"$ref": "#"}).fill() == ""


def test_a_schema_that_never_ends_is_cut() -> None:
    endless = {"type": "object", "properties": {"again": {"$ref": "#"}}}
    assert json.dumps(SchemaFiller("x", endless).fill()).count("again") < 50


ODD_COUNTS = [None, "lots", 3, [], {"prompt_tokens": "9", "completion_tokens": -1}, {"x": 1}]


@pytest.mark.parametrize("usage", [*ODD_COUNTS, {"prompt_tokens_details": "x"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_odd_token_counts_do_not_cost_the_answer(upstream, host, usage, stream) -> None:
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


async def test_done_after_content_is_an_end_and_done_alone_is_none(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    done = b"data: [DONE]\n\n"
    upstream.reply(sse_reply([chunk_frame({"content": "Hi"}), done]))
    assert (await run_chat(provider, chat_request(stream=True))).text == "Hi"
    assert [c async for c in provider.native(NativeRequest("m", {}, True))][-1].end
    upstream.reply(sse_reply([chunk_frame({"role": "assistant"}), done]))
    with pytest.raises(errors.EmptyAnswer):
        [c async for c in provider.native(NativeRequest("m", {}, True))]


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{"choices":[],"usage":{}}'])
async def test_an_answer_without_choices_is_empty(upstream, host, body: bytes) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    upstream.reply(json_reply(body))
    with pytest.raises(errors.EmptyAnswer):
        await run_chat(provider, chat_request())
    with pytest.raises(errors.EmptyAnswer):
        [c async for c in provider.native(NativeRequest("m", {}, False))]


@pytest.mark.parametrize("odd", [b'{"choices":[3]}', b'{"choices":[{"delta":3}]}', b"[]"])
async def test_a_chunk_that_is_none_breaks_the_stream(upstream, host, odd: bytes) -> None:
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
async def test_an_answer_that_no_filter_saw_is_refused_on_demand(
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


async def test_pieces_tell_about_how_much_a_read_brought(upstream, host) -> None:
    provider = OpenAI(Settings(base_url=upstream.url), host)
    frames = [
        chunk_frame({"content": "x" * 40}),
        chunk_frame({"tool_calls": [{}, {}]}),
        chunk_frame({}, "stop"),
    ]
    upstream.reply(sse_reply([b"".join(frames)]))
    chunks = [c async for c in provider.native(NativeRequest("m", {}, True))]
    assert sum(c.pieces for c in chunks) == 12
