"""Invalid input is a 4xx in the caller's dialect, never a 5xx, and reaches no upstream."""

import json

import httpx2
import pytest

from support.server import RunningServer

OPENAI, ANTHROPIC, EMBED, SUGGEST = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/suggest",
)
HELLO = [{"role": "user", "content": "hi"}]


def chat_body(**fields: object) -> bytes:
    return json.dumps({"model": "openai", "max_tokens": 9, "messages": HELLO, **fields}).encode()


def raw_chat_body(fields: bytes) -> bytes:
    return (
        b'{"model":"openai","max_tokens":9,"messages":[{"role":"user","content":"hi"}],'
        + fields
        + b"}"
    )


INVALID_FOR_ALL = {
    "empty": b"",
    "blank": b"   ",
    "not json": b"hello",
    "half an object": b'{"model":',
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "invalid utf-8": b'{"model":"\xff\xfe"}',
    "a lone surrogate": b'{"model":"\\ud800"}',
    "10k deep": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10k deep, never closed": b'{"a":' + b"[" * 10_000,
    "NaN": b'{"model":NaN}',
    "trailing bytes": b"{} {}",
    "BOM": b"\xef\xbb\xbf{}",
}
INVALID_CHAT = {
    "no model": b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}',
    "model of a wrong type": chat_body(model=3),
    "no messages": b'{"model":"openai","max_tokens":1}',
    "messages of a wrong type": chat_body(messages="hi"),
    "empty messages": chat_body(messages=[]),
    "a message that is none": chat_body(messages=[3]),
    "a deep message": raw_chat_body(b'"metadata":{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
    "stream of a wrong type": chat_body(stream="yes"),
    "infinite temperature": raw_chat_body(b'"temperature":1e999'),
    "temperature of a wrong type": chat_body(temperature="hot"),
    "negative max_tokens": chat_body(max_tokens=-1),
    "tools of a wrong type": chat_body(tools="hammer"),
    "a lone surrogate in text": raw_chat_body(b'"metadata":{"user_id":"\\udc00"}'),
    "NaN within": raw_chat_body(b'"metadata":{"x":NaN}'),
}
INVALID_EMBEDDINGS = {
    "no input": b'{"model":"embed"}',
    "input of a wrong type": b'{"model":"embed","input":3}',
    "no inputs": b'{"model":"embed","input":[]}',
    "tokens": b'{"model":"embed","input":[1,2]}',
    "an odd format": b'{"model":"embed","input":"a","encoding_format":"hex"}',
}
INVALID_SUGGEST = {
    "an unknown field": b'{"contxt":{},"strict":true}',
    "a long query": json.dumps({"context": {"query": "x" * 513}}).encode(),
    "a wrong language": b'{"locale":{"lang":"not a tag"}}',
    "a wrong budget": b'{"budget_ms":1}',
    "over 64 KiB": json.dumps({"context": {"page": {"text": "x" * 70_000}}}).encode(),
    "a host that is none": b'{"links":{"include_hosts":["a b"]}}',
    "too many chips": b'{"chips":{"limit":9}}',
    "NaN for a number": b'{"budget_ms":NaN}',
    "too much talk": json.dumps(
        {"context": {"messages": [{"role": "user", "content": "x" * 4000}] * 5}}
    ).encode(),
}
CASES = [
    *(
        (path, name, sent)
        for path in (OPENAI, ANTHROPIC, EMBED, SUGGEST)
        for name, sent in INVALID_FOR_ALL.items()
    ),
    *((path, name, sent) for path in (OPENAI, ANTHROPIC) for name, sent in INVALID_CHAT.items()),
    *((EMBED, name, sent) for name, sent in INVALID_EMBEDDINGS.items()),
    *((SUGGEST, name, sent) for name, sent in INVALID_SUGGEST.items()),
]


def assert_error_shape(path: str, response: httpx2.Response) -> None:
    body = response.json()
    if path == SUGGEST:
        assert response.headers["content-type"] == "application/problem+json"
        assert body["status"] == response.status_code
        assert body["type"].startswith("/problems/")
    elif path == ANTHROPIC:
        assert body["type"] == "error"
        assert body["error"]["type"].endswith(("_error", "_too_large"))
        assert body["error"]["message"]
    else:
        assert body["error"]["message"]
        assert body["error"]["type"]
    assert response.headers["x-request-id"]


@pytest.fixture
async def http(running: RunningServer):
    async with httpx2.AsyncClient(base_url=running.url) as http:
        yield http


async def test_invalid_body_is_rejected_in_callers_dialect(http, vendor) -> None:
    for path, name, sent in CASES:
        response = await http.post(path, content=sent)
        if path == SUGGEST and name in ("no model",):
            continue
        assert 400 <= response.status_code < 500, f"{path}: {name}: {response.status_code}"
        assert_error_shape(path, response)
    assert vendor.requests == []


@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, EMBED, SUGGEST])
@pytest.mark.parametrize("declared", [True, False])
async def test_body_of_50_megabytes_is_too_large(http, path: str, declared: bool) -> None:
    megabyte = b" " * (1 << 20)

    async def chunks():
        for _ in range(50):
            yield megabyte

    content = megabyte * 50 if declared else chunks()
    response = await http.post(path, content=content)
    assert response.status_code == 413
    assert_error_shape(path, response)


async def test_compressed_body_is_rejected(http) -> None:
    response = await http.post(OPENAI, content=b"x", headers={"content-encoding": "gzip"})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/v2/nothing", 404, "path_not_found", None),
        ("GET", OPENAI, 405, "method_not_allowed", "POST"),
        ("PUT", "/livez", 405, "method_not_allowed", "GET"),
    ],
)
async def test_unknown_path_or_method_is_reported_in_callers_dialect(
    http, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    for version, not_found, envelope in (
        ({}, "invalid_request_error", None),
        ({"anthropic-version": "2023-06-01"}, "not_found_error", "error"),
    ):
        response = await http.request(method, path, headers=version)
        body = response.json()
        assert (response.status_code, response.headers.get("allow")) == (status, allow)
        assert (body["error"]["code"], body.get("type")) == (code, envelope)
        assert body["error"]["type"] == (not_found if status == 404 else "invalid_request_error")
        assert path in body["error"]["message"]


async def test_unusual_header_values_are_accepted(http) -> None:
    odd = {"x-request-id": "a b\tc", "accept-language": ";;q=,,,zz", "authorization": "Bearer"}
    response = await http.post(SUGGEST, content=b"{}", headers=odd)
    assert response.status_code == 200
    assert response.headers["x-request-id"].startswith("req_")


async def test_dropped_parameter_is_named_in_a_header(http) -> None:
    response = await http.post(
        OPENAI, content=chat_body(model="embedded", seed=3, **{"odd\nname": 1})
    )
    assert response.status_code == 200
    named = response.headers["x-hamlet-warnings"]
    assert "unsupported:seed" in named


async def test_logs_and_metrics_contain_no_prompts_or_keys(http, running, vendor) -> None:
    said = "my secret diary"
    for model in ("openai", "anthropic", "embedded", "nobody"):
        turns = [{"role": "user", "content": said}]
        await http.post(OPENAI, content=chat_body(model=model, messages=turns))
    await http.post(SUGGEST, content=json.dumps({"context": {"query": said}}).encode())
    written = running.log.getvalue() + (await http.get("/metrics")).text
    assert '"event":"call"' in written
    assert "diary" not in written
    assert "sk-vendor" not in written
    assert "nobody" not in (await http.get("/metrics")).text
