"""The official openai package, unmodified, against hamlet over every provider."""

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic import BaseModel

from hamlet.core import Text
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import PIXEL, SCHEMA, chat_response
from support.loopback_vendor import VENDOR_ANSWER_TEXT, wire_for
from support.server import RunningServer, wait_until
from support.vendor_wires import OpenAIWire

VENDORS = ["openai", "azure", "azure-v1", "anthropic", "vllm"]
ALL = [*VENDORS, "embedded"]
HELLO = [{"role": "user", "content": "Hello, what is the weather in Seoul?"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


class City(BaseModel):
    city: str


@pytest.fixture
async def client(running: RunningServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ALL)
async def test_non_streaming_response(client: AsyncOpenAI, model: str) -> None:
    got = await client.chat.completions.create(model=model, messages=HELLO, max_tokens=500)
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].finish_reason == "stop"
    assert got.usage
    assert got.usage.total_tokens > 0
    if model != "embedded":
        assert got.choices[0].message.content == VENDOR_ANSWER_TEXT
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (20, 9)
        assert got.usage.prompt_tokens_details
        assert got.usage.prompt_tokens_details.cached_tokens == 5


@pytest.mark.parametrize("model", ALL)
async def test_stream_matches_non_streaming_response(client: AsyncOpenAI, model: str) -> None:
    whole = await client.chat.completions.create(model=model, messages=HELLO)
    stream = await client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    text, usage, reasons = "", None, []
    async for chunk in stream:
        if chunk.choices:
            assert chunk.choices[0].delta.role in ("assistant", None)
            text += chunk.choices[0].delta.content or ""
            reasons += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert reasons == ["stop"]
    assert usage == whole.usage or usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("model", ALL)
async def test_usage_frame_is_opt_in(client: AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)


@pytest.mark.parametrize("model", ALL)
async def test_calls_a_tool_and_uses_its_result(client: AsyncOpenAI, model: str) -> None:
    first = await client.chat.completions.create(
        model=model, messages=HELLO, tools=[TOOL], tool_choice="required"
    )
    call = first.choices[0].message.tool_calls[0]
    assert first.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    turns = [
        *HELLO,
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Seoul."},
    ]
    second = await client.chat.completions.create(model=model, messages=turns, tools=[TOOL])
    assert "It is sunny in Seoul." in second.choices[0].message.content


@pytest.mark.parametrize("model", ALL)
async def test_streams_a_tool_call(client: AsyncOpenAI, model: str) -> None:
    async with client.chat.completions.stream(
        model=model, messages=HELLO, tools=[TOOL], tool_choice="required"
    ) as stream:
        final = await stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"city"}


@pytest.mark.parametrize("model", ALL)
async def test_parses_structured_output(client: AsyncOpenAI, model: str) -> None:
    got = await client.chat.completions.parse(model=model, messages=HELLO, response_format=City)
    assert isinstance(got.choices[0].message.parsed, City)


@pytest.mark.parametrize("model", ALL)
async def test_image_is_accepted_or_rejected_explicitly(client: AsyncOpenAI, model: str) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    turns = [{"role": "user", "content": parts}]
    if model == "embedded":
        with pytest.raises(openai.BadRequestError, match="images"):
            await client.chat.completions.create(model=model, messages=turns)
        return
    got = await client.chat.completions.create(model=model, messages=turns)
    assert got.choices[0].message.content == "I see a pixel."


@pytest.mark.parametrize("model", ["embed", "embed-azure", "embed-embedded"])
async def test_embeds(client: AsyncOpenAI, model: str) -> None:
    packed = await client.embeddings.create(model=model, input=["a", "b"])
    floats = await client.embeddings.create(model=model, input=["a", "b"], encoding_format="float")
    assert [row.index for row in packed.data] == [0, 1]
    assert packed.data[1].embedding == pytest.approx(floats.data[1].embedding)
    assert packed.usage.prompt_tokens > 0


async def test_lists_and_retrieves_models(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert "anthropic" in names
    assert (await client.models.retrieve("anthropic")).id == "anthropic"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody")


async def test_azure_client_with_deployment_paths(running: RunningServer) -> None:
    async with AsyncAzureOpenAI(
        azure_endpoint=running.url, api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        got = await client.chat.completions.create(model="anthropic", messages=HELLO)
        vectors = await client.embeddings.create(model="embed", input="a")
    assert got.choices[0].message.content == VENDOR_ANSWER_TEXT
    assert len(vectors.data) == 1


ERRORS = {
    400: openai.BadRequestError,
    401: openai.InternalServerError,
    403: openai.InternalServerError,
    404: openai.BadRequestError,  # its text names neither model nor deployment
    408: openai.InternalServerError,
    409: openai.ConflictError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("model", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_vendor_status_maps_to_sdk_error(
    client: AsyncOpenAI, vendor: LoopbackUpstream, model: str, status: int, stream: bool
) -> None:
    body = {"error": {"message": "no, sk-vendor-secret-123456", "type": "t"}}
    vendor.reply(json_reply(body, status, {"retry-after-ms": "1500"}))
    with pytest.raises(ERRORS[status]) as caught:
        await client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    error = caught.value
    assert "sk-vendor" not in str(error)
    assert error.request_id
    assert error.response.headers["x-should-retry"] == "false"
    if status == 429:
        # The earliest time at which a deployment is free: the vendor's value plus up to a tenth.
        assert 1000 < int(error.response.headers["retry-after-ms"]) <= 1650


async def test_unknown_model_is_not_found(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nobody", messages=HELLO)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["openai", "vllm", "anthropic"])
async def test_mid_stream_failure_is_an_in_band_error(
    client: AsyncOpenAI, vendor: LoopbackUpstream, running: RunningServer, model: str
) -> None:
    def cut(request: Received) -> Canned:
        return sse_reply(
            wire_for(request).frames(chat_response(Text(VENDOR_ANSWER_TEXT)))[:4], end="reset"
        )

    vendor.respond(cut)
    stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
    text = ""
    with pytest.raises(openai.APIError):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text
    assert VENDOR_ANSWER_TEXT.startswith(text)


@pytest.mark.parametrize("model", ["openai", "anthropic"])
async def test_client_disconnect_cancels_upstream_call(
    client: AsyncOpenAI, vendor: LoopbackUpstream, running: RunningServer, model: str
) -> None:
    vendor.reply(Canned(before="hang"))
    call = asyncio.ensure_future(client.chat.completions.create(model=model, messages=HELLO))
    await vendor.received()
    call.cancel()
    await vendor.hung_up()
    await wait_until(lambda: running.hamlet.gateway.admission.in_flight == 0)
    await wait_until(lambda: '"outcome":"cancelled"' in running.log.getvalue())
    assert running.log.getvalue().count('"event":"call"') == 1
    assert len(vendor.requests) == 1


async def test_client_disconnect_cancels_upstream_stream(
    client: AsyncOpenAI, vendor: LoopbackUpstream, running: RunningServer
) -> None:
    frames = OpenAIWire("openai", "max_tokens").frames(chat_response(Text(VENDOR_ANSWER_TEXT)))
    vendor.reply(sse_reply(frames[:3], end="hang"))
    stream = await client.chat.completions.create(model="openai", messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    await vendor.hung_up()
    await wait_until(lambda: '"outcome":"cancelled"' in running.log.getvalue())
    assert running.hamlet.gateway.admission.in_flight == 0
