"""The canary tokens: a leak is found and reported without its text."""

import httpx2
import pytest

from support.canary_tokens import CanaryTokens, describe_log_line
from support.server import run_server

DIARY = 'my neighbour\'s diary says "rain"'
REQUEST = {"model": "hamlet", "messages": [{"role": "user", "content": DIARY}]}
KEY = "hk-a-key-of-somebody"


@pytest.mark.parametrize("leak", [DIARY, KEY, None])
async def test_leaked_text_in_log_fails_test(leak) -> None:
    async def chat_and_log() -> None:
        async with run_server() as running, httpx2.AsyncClient(base_url=running.url) as http:
            headers = {"authorization": f"Bearer {KEY}"}
            response = await http.post("/v1/chat/completions", json=REQUEST, headers=headers)
            assert response.status_code == 200
            running.hamlet.log.line("leaky", {"note": f"they said: {leak or 'nothing'}"})

    if leak is None:
        return await chat_and_log()
    with pytest.raises(AssertionError) as caught:
        await chat_and_log()
    assert "the log in 'leaky' (event, level, note, timestamp) contains" in str(caught.value)
    assert leak not in str(caught.value)


def test_short_and_repetitive_texts_are_not_canaries() -> None:
    canaries = CanaryTokens()
    canaries._record_body(
        b'{"content": "short", "model": "a-model-of-ours", "text": "xxxxxxxxxxxxxxxx"}'
    )
    canaries.assert_absent(
        "the log", '{"event": "short a-model-of-ours xxxxxxxxxxxxxxxx"}', describe_log_line
    )
    assert canaries._sent == {}
