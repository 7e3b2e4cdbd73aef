"""Streams cut anywhere: all of the answer, or its beginning and an error; never a mixture.

Goal G11; rows of the fault matrix: 12, 13, 15.
"""

import asyncio
import random

import anthropic
import openai
import pytest
import pytest_asyncio

from hamlet.core import Text
from hamlet.testing import Canned, LoopbackUpstream, Received, sse_reply
from hamlet.testing.cases import answer
from support.stage import CLIENT_KEY, OFTEN, PATHS, PROMPT, SAID, provider, said, staging
from support.vendor import wire_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
CUTS, AT_ONCE = 1000, 16
SEED = 20261125
# No cut here is a silence: a busy machine shall not be taken for one.
PATIENT = {**OFTEN, "first_token_s": 15, "idle_s": 15, "total_s": 60}
OTHER = "These are another deployment's words."
TURNS = [{"role": "user", "content": PROMPT}]


def cut_off(request: Received) -> Canned:
    """The stream up to where the model's name says, in two pieces, ended as it says."""
    _, at, end = request.json["model"].split(":")[:3]
    whole = b"".join(said(wire_of(request)))
    part = whole[: int(at) * len(whole) // 1000]
    middle = random.Random(at).randrange(len(part) + 1)
    return sse_reply([p for p in (part[:middle], part[middle:]) if p], end=end)  # type: ignore[arg-type]


def other_words(request: Received) -> Canned:
    return sse_reply(wire_of(request).frames(answer(Text(OTHER))))


def cuts() -> dict[str, list[str]]:
    """Route names, each with what the vendor speaks and the model that says where to cut."""
    rng = random.Random(SEED)
    made = {}
    for n in range(CUTS):
        end = rng.choice(["truncate", "reset", "whole"])
        made[f"cut-{n}"] = [rng.choice(list(PATHS)), f"cut:{rng.randrange(1000)}:{end}:{n}"]
    for kind in PATHS:
        made[f"sdk-{kind}"] = [kind, "cut:700:truncate:sdk"]
    return made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage():
    async with LoopbackUpstream() as cut, LoopbackUpstream() as other:
        cut.respond(cut_off)
        other.respond(other_words)
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
                "policy": PATIENT,
            }
            for name, (kind, model) in cuts().items()
        }
        async with staging({"providers": rows, "routes": routes}) as stage:
            yield stage


@pytest.mark.timeout(120)
async def test_a_thousand_cuts_end_in_an_error_event_and_mix_nothing(stage) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    rng = random.Random(SEED)
    ends = {"whole": 0, "elsewhere": 0, "interrupted": 0}

    async def one(name: str, ours: str) -> None:
        async with gate:
            told = await stage.ask(name, ours)
        case = f"seed {SEED}, {name} ({cuts()[name]}) for {ours}: {told.body[-400:]!r}"
        assert told.status == 200, case
        if told.text == OTHER:
            kind = "elsewhere"
            assert told.ended_well, case
        elif told.ended_well:
            kind = "whole"
            assert told.text == SAID, case
        else:
            kind = "interrupted"
            assert told.text, case
            assert SAID.startswith(told.text), case
        assert (told.error is None) == told.ended_well, case
        ends[kind] += 1

    names = [name for name in cuts() if name.startswith("cut-")]
    await asyncio.gather(*(one(name, rng.choice(list(PATHS))) for name in names))
    assert sum(ends.values()) == CUTS
    assert min(ends.values()) > 0, f"every kind of end was seen: {ends}"


@pytest.mark.parametrize("kind", PATHS)
async def test_the_official_clients_raise(stage, kind: str) -> None:
    text = ""
    if kind == "openai":
        async with openai.AsyncOpenAI(
            base_url=f"{stage.running.url}/v1", api_key=CLIENT_KEY, max_retries=0
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
            base_url=stage.running.url, api_key=CLIENT_KEY, max_retries=0
        ) as client:
            with pytest.raises(anthropic.APIStatusError, match="broke off"):
                async with client.messages.stream(
                    model=f"sdk-{kind}", max_tokens=9, messages=TURNS
                ) as stream:
                    async for piece in stream.text_stream:
                        text += piece
    assert text
    assert SAID.startswith(text)
