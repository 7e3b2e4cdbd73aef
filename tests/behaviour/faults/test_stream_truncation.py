"""Streams cut at any byte: clients get the whole response, or its beginning and an error."""

import asyncio
import random

import anthropic
import openai
import pytest
import pytest_asyncio

from hamlet.core import Text
from hamlet.testing import Canned, LoopbackUpstream, Received, sse_reply
from hamlet.testing.cases import chat_response
from support.fault_harness import (
    CLIENT_KEY,
    GOOD_ANSWER_TEXT,
    PATHS,
    PROMPT,
    RETRY_POLICY,
    answer_frames,
    fault_harness,
    provider,
)
from support.loopback_vendor import wire_for

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUTS, CONCURRENCY = 1000, 16
SEED = 20261125
# No case here depends on a timeout, so a busy machine must not cause one.
PATIENT_POLICY = {**RETRY_POLICY, "first_token_s": 15, "idle_s": 15, "total_s": 60}
OTHER_TEXT = "These are another deployment's words."
TURNS = [{"role": "user", "content": PROMPT}]


def truncated_stream(request: Received) -> Canned:
    """The stream up to the byte in the model's name, in two pieces, ended in the way it names."""
    _, at, end = request.json["model"].split(":")[:3]
    whole = b"".join(answer_frames(wire_for(request)))
    part = whole[: int(at) * len(whole) // 1000]
    middle = random.Random(at).randrange(len(part) + 1)
    return sse_reply([p for p in (part[:middle], part[middle:]) if p], end=end)  # type: ignore[arg-type]


def respond_with_other_text(request: Received) -> Canned:
    return sse_reply(wire_for(request).frames(chat_response(Text(OTHER_TEXT))))


def cut_routes() -> dict[str, list[str]]:
    """Route names, each with the vendor's wire format and the model that names the cut."""
    rng = random.Random(SEED)
    made = {}
    for n in range(CUTS):
        end = rng.choice(["truncate", "reset", "whole"])
        made[f"cut-{n}"] = [rng.choice(list(PATHS)), f"cut:{rng.randrange(1000)}:{end}:{n}"]
    for kind in PATHS:
        made[f"sdk-{kind}"] = [kind, "cut:700:truncate:sdk"]
    return made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def harness():
    async with LoopbackUpstream() as cut, LoopbackUpstream() as other:
        cut.respond(truncated_stream)
        other.respond(respond_with_other_text)
        rows = {
            f"{name}-{kind}": provider(kind, upstream.url)
            for name, upstream in (("cut", cut), ("other", other))
            for kind in PATHS
        }
        routes = {
            name: {
                "tiers": [
                    [{"provider": f"cut-{kind}", "model": model}],
                    [{"provider": f"other-{kind}", "model": model}],
                ],
                "policy": PATIENT_POLICY,
            }
            for name, (kind, model) in cut_routes().items()
        }
        async with fault_harness({"providers": rows, "routes": routes}) as stage:
            yield stage


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_truncated_streams_end_with_error_and_never_mix(harness) -> None:
    gate = asyncio.Semaphore(CONCURRENCY)
    rng = random.Random(SEED)
    ends = {"whole": 0, "elsewhere": 0, "interrupted": 0}

    async def one(name: str, ours: str) -> None:
        async with gate:
            response = await harness.chat(name, ours)
        case = f"seed {SEED}, {name} ({cut_routes()[name]}) for {ours}: {response.body[-400:]!r}"
        assert response.status == 200, case
        if response.text == OTHER_TEXT:
            kind = "elsewhere"
            assert response.is_complete, case
        elif response.is_complete:
            kind = "whole"
            assert response.text == GOOD_ANSWER_TEXT, case
        else:
            kind = "interrupted"
            assert response.text, case
            assert GOOD_ANSWER_TEXT.startswith(response.text), case
        assert (response.error is None) == response.is_complete, case
        ends[kind] += 1

    names = [name for name in cut_routes() if name.startswith("cut-")]
    await asyncio.gather(*(one(name, rng.choice(list(PATHS))) for name in names))
    assert sum(ends.values()) == CUTS
    assert min(ends.values()) > 0, f"every kind of end was seen: {ends}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", PATHS)
async def test_official_clients_raise(harness, kind: str) -> None:
    text = ""
    if kind == "openai":
        async with openai.AsyncOpenAI(
            base_url=f"{harness.running.url}/v1", api_key=CLIENT_KEY, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model=f"sdk-{kind}", messages=TURNS, stream=True
            )
            with pytest.raises(openai.APIError) as caught:
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
            assert caught.value.code == "stream_interrupted"
    else:
        async with anthropic.AsyncAnthropic(
            base_url=harness.running.url, api_key=CLIENT_KEY, max_retries=0
        ) as client:
            with pytest.raises(anthropic.APIStatusError, match="broke off"):
                async with client.messages.stream(
                    model=f"sdk-{kind}", max_tokens=9, messages=TURNS
                ) as stream:
                    async for piece in stream.text_stream:
                        text += piece
    assert text
    assert GOOD_ANSWER_TEXT.startswith(text)
