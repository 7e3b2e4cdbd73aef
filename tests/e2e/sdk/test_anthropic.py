"""The official anthropic package, unmodified, against hamlet over every provider."""

from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic import AsyncAnthropic

from hamlet.core import Text
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply, sse_reply
from hamlet.testing.cases import PIXEL, SCHEMA, chat_response
from support.loopback_vendor import VENDOR_ANSWER_TEXT, wire_for
from support.server import RunningServer, wait_until

ALL = ["openai", "azure", "azure-v1", "anthropic", "vllm", "embedded"]
HELLO = [{"role": "user", "content": "Hello, what is the weather in Seoul?"}]
TOOL = {"name": "weather", "input_schema": SCHEMA}


@pytest.fixture
async def client(running: RunningServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=running.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ALL)
async def test_non_streaming_response(client: AsyncAnthropic, model: str) -> None:
    got = await client.messages.create(
        model=model, max_tokens=500, system="Be brief.", messages=HELLO
    )
    assert got.stop_reason == "end_turn"
    assert got.usage.output_tokens > 0
    if model != "embedded":
        assert [block.text for block in got.content] == [VENDOR_ANSWER_TEXT]
        assert (got.usage.input_tokens, got.usage.cache_read_input_tokens) == (15, 5)


@pytest.mark.parametrize("model", ALL)
async def test_stream_matches_non_streaming_response(client: AsyncAnthropic, model: str) -> None:
    whole = await client.messages.create(model=model, max_tokens=500, messages=HELLO)
    async with client.messages.stream(model=model, max_tokens=500, messages=HELLO) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("model", ALL)
async def test_calls_a_tool_and_uses_its_result(client: AsyncAnthropic, model: str) -> None:
    async with client.messages.stream(
        model=model, max_tokens=500, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        first = await stream.get_final_message()
    call = first.content[-1]
    assert first.stop_reason == "tool_use"
    assert (call.name, set(call.input)) == ("weather", {"city"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "It is sunny in Seoul."}
    turns = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = await client.messages.create(model=model, max_tokens=500, messages=turns, tools=[TOOL])
    assert "It is sunny in Seoul." in second.content[0].text


@pytest.mark.parametrize("model", ALL)
async def test_structured_output(client: AsyncAnthropic, model: str) -> None:
    shape = {"format": {"type": "json_schema", "schema": SCHEMA}}
    got = await client.messages.create(
        model=model, max_tokens=500, messages=HELLO, output_config=shape
    )
    assert got.content[0].text.startswith('{"city":')


@pytest.mark.parametrize("model", ALL)
async def test_image_is_accepted_or_rejected_explicitly(client: AsyncAnthropic, model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    turns = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    if model == "embedded":
        with pytest.raises(anthropic.BadRequestError, match="images"):
            await client.messages.create(model=model, max_tokens=50, messages=turns)
        return
    got = await client.messages.create(model=model, max_tokens=50, messages=turns)
    assert got.content[0].text == "I see a pixel."


async def test_lists_models(client: AsyncAnthropic) -> None:
    names = [model.id async for model in client.models.list()]
    assert "anthropic" in names
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("nobody")


ERRORS = {
    400: anthropic.BadRequestError,
    401: anthropic.InternalServerError,
    404: anthropic.BadRequestError,  # its text names neither model nor deployment
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    529: anthropic.InternalServerError,
}


@pytest.mark.parametrize("status", ERRORS)
@pytest.mark.parametrize("model", ["openai", "anthropic"])
async def test_vendor_status_maps_to_sdk_error(
    client: AsyncAnthropic, vendor: LoopbackUpstream, model: str, status: int
) -> None:
    body = {"type": "error", "error": {"message": "no, sk-vendor-secret-123456", "type": "t"}}
    vendor.reply(json_reply(body, status))
    with pytest.raises(ERRORS[status]) as caught:
        await client.messages.create(model=model, max_tokens=50, messages=HELLO)
    assert "sk-vendor" not in str(caught.value)
    assert caught.value.request_id


@pytest.mark.parametrize("model", ["openai", "anthropic"])
async def test_mid_stream_failure_is_an_in_band_error(
    client: AsyncAnthropic, vendor: LoopbackUpstream, model: str
) -> None:
    def cut(request: Received) -> Canned:
        return sse_reply(
            wire_for(request).frames(chat_response(Text(VENDOR_ANSWER_TEXT)))[:4], end="reset"
        )

    vendor.respond(cut)
    text = ""
    with pytest.raises(anthropic.APIStatusError):
        async with client.messages.stream(model=model, max_tokens=50, messages=HELLO) as stream:
            async for part in stream.text_stream:
                text += part
    assert text
    assert VENDOR_ANSWER_TEXT.startswith(text)


async def test_client_disconnect_cancels_upstream_stream(
    client: AsyncAnthropic, vendor: LoopbackUpstream, running: RunningServer
) -> None:
    def hang(request: Received) -> Canned:
        return sse_reply(
            wire_for(request).frames(chat_response(Text(VENDOR_ANSWER_TEXT)))[:4], end="hang"
        )

    vendor.respond(hang)
    async with client.messages.stream(model="anthropic", max_tokens=9, messages=HELLO) as stream:
        async for _ in stream.text_stream:
            break
    await vendor.hung_up()
    await wait_until(lambda: '"outcome":"cancelled"' in running.log.getvalue())
    assert running.hamlet.gateway.admission.in_flight == 0
