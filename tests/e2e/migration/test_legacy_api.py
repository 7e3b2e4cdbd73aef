"""hamlet1's API on both arms: what existing frontends rely on is the same on either."""

import httpx2
import orjson
import pytest

from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.comparison import compare
from hamlet.testing import json_reply, sse_reply
from support.hamlet1 import SERVER, needs_node
from support.migration import CHAT_BODY, migration_harness

pytestmark = needs_node

CASES = [
    ("POST", "/api/chat", CHAT_BODY),
    ("POST", "/api/chat", CHAT_BODY | {"stream": True}),
    ("POST", "/api/chat", CHAT_BODY | {"maxLength": 5, "temperature": 0}),
    ("POST", "/api/chat", {"messages": []}),
    ("POST", "/api/chat", {"messages": [{"sender": "nobody", "text": "x"}]}),
    ("POST", "/api/chat", []),
    ("POST", "/api/chat", None),
    ("POST", "/api/chips", {"q": "How do I learn Python?", "lang": "en"}),
    ("POST", "/api/chips", {"lang": "ko"}),
    ("POST", "/api/chips", None),
    ("GET", "/api/related?q=python&lang=en", None),
    ("GET", "/api/related", None),
    ("GET", "/api/related?lang=xx", None),
    ("POST", "/api/related", {"q": "서울 지하철", "lang": "ko"}),
    ("POST", "/api/related", None),
]


@pytest.fixture
async def migration(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_TESTER_KEY", "tester")
    async with migration_harness(tmp_path) as harness:
        yield harness


def capture(response: httpx2.Response) -> CapturedResponse:
    return CapturedResponse(response.status_code, list(response.headers.raw), response.content)


async def test_both_arms_satisfy_contract(migration) -> None:
    for method, path, body in CASES:
        await assert_arms_agree(migration, method, path, body)


async def assert_arms_agree(migration, method, path, body) -> None:
    content = {"content": b"null" if body is None else orjson.dumps(body)}
    content = content if method == "POST" else {}
    responses = []
    for arm in ("legacy", "new"):
        headers = {
            "x-hamlet-tester": "tester",
            "x-hamlet-arm": arm,
            "content-type": "application/json",
        }
        responses.append(
            capture(await migration.http.request(method, path, headers=headers, **content))
        )
    legacy, new = responses
    result = compare(legacy, new, content="noise" if "chat" in path else "off")
    assert result.verdict in ("equal", "tolerated"), (result, legacy.body, new.body)
    assert legacy.header("x-powered-by") == new.header("x-powered-by") == "Hamlet/1"
    assert legacy.header("content-type") == new.header("content-type")
    if "stream" not in (body or {}):
        assert legacy.body.endswith(b"\n")
        assert new.body.endswith(b"\n")


async def test_vendor_errors_match_between_arms(migration) -> None:
    refused = {"error": {"message": "no", "type": "x", "code": "y"}}
    cut = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"to"},"finish_reason":null}]}\n\n'
    for reply, body in (
        (json_reply(refused, 400), CHAT_BODY),
        (json_reply(refused, 500), CHAT_BODY),
        (sse_reply([cut], end="truncate"), CHAT_BODY | {"stream": True}),
    ):
        migration.vendor.reply(reply)
        contracts = []
        for arm in ("legacy", "new"):
            headers = {"x-hamlet-tester": "tester", "x-hamlet-arm": arm}
            response = await migration.http.post("/api/chat", json=body, headers=headers)
            seen = capture(response)
            contracts.append(
                (seen.status, seen.media_type, seen.event_sequence, sorted(seen.types_by_path))
            )
        assert contracts[0] == contracts[1]


def test_stand_in_needs_no_npm_package() -> None:
    lines = SERVER.read_text().splitlines()
    modules = [line.split("'")[1] for line in lines if "require(" in line]
    assert modules
    assert all(module.startswith("node:") for module in modules)
