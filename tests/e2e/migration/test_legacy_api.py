"""Both services behind one API: what an old frontend relies on is the same on either."""

import httpx2
import orjson
import pytest

from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.comparison import compare
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
    async with migration_harness(tmp_path) as both:
        yield both


def to_answer(response: httpx2.Response) -> CapturedResponse:
    return CapturedResponse(response.status_code, list(response.headers.raw), response.content)


async def test_both_arms_satisfy_contract(migration) -> None:
    for method, path, body in CASES:
        await assert_arms_agree(migration, method, path, body)


async def assert_arms_agree(migration, method, path, body) -> None:
    content = {"content": b"null" if body is None else orjson.dumps(body)}
    content = content if method == "POST" else {}
    answers = []
    for arm in ("legacy", "new"):
        headers = {
            "x-hamlet-tester": "tester",
            "x-hamlet-arm": arm,
            "content-type": "application/json",
        }
        answers.append(
            to_answer(await migration.http.request(method, path, headers=headers, **content))
        )
    content_rule = "noise" if "chat" in path else "off"
    result = compare(*answers, content=content_rule)
    assert result.verdict in ("equal", "tolerated"), (result, answers[0].body, answers[1].body)
    assert [a.header("x-powered-by") for a in answers] == ["Hamlet/1", "Hamlet/1"]
    assert [a.header("content-type") for a in answers] == [answers[0].header("content-type")] * 2
    if "stream" not in (body or {}):
        assert all(a.body.endswith(b"\n") for a in answers)


async def test_vendor_errors_match_between_arms(migration) -> None:
    from hamlet.testing import json_reply, sse_reply

    refused = {"error": {"message": "no", "type": "x", "code": "y"}}
    cut = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"to"},"finish_reason":null}]}\n\n'
    for reply, ask in (
        (json_reply(refused, 400), CHAT_BODY),
        (json_reply(refused, 500), CHAT_BODY),
        (sse_reply([cut], end="truncate"), CHAT_BODY | {"stream": True}),
    ):
        migration.vendor.reply(reply)
        shown = []
        for arm in ("legacy", "new"):
            headers = {"x-hamlet-tester": "tester", "x-hamlet-arm": arm}
            response = await migration.http.post("/api/chat", json=ask, headers=headers)
            told = to_answer(response)
            shown.append(
                (told.status, told.media_type, told.event_sequence, sorted(told.types_by_path))
            )
        assert shown[0] == shown[1]


def test_the_stand_in_needs_nothing_from_npm() -> None:
    lines = SERVER.read_text().splitlines()
    modules = [line.split("'")[1] for line in lines if "require(" in line]
    assert modules
    assert all(module.startswith("node:") for module in modules)
