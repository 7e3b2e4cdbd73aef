"""Malformed requests: odd JSON, HTTP, headers and keys get a 4xx and have no side effects."""

import json
import random
import re
import string

import pytest
import pytest_asyncio

from hamlet.net.server.connection import MAX_HEAD_BYTES
from hamlet.testing import LoopbackUpstream
from support.fault_harness import (
    CLIENT_KEY,
    GOOD_ANSWER_TEXT,
    PATHS,
    fault_harness,
    provider,
    respond_ok,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT = "/v1/chat/completions"
BODY_PREFIX = b'{"model":"r","max_tokens":9,"messages":[{"role":"user","content":"hi"}],'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def harness():
    async with LoopbackUpstream() as upstream:
        upstream.respond(respond_ok)
        rows = {kind: provider(kind, upstream.url) for kind in PATHS}
        routes = {
            name: {"deployments": [{"provider": kind, "model": "m"}]}
            for name, kind in (("r", "openai"), ("a", "anthropic"))
        }
        server = {"request_head_s": 5, "request_body_s": 0.5, "max_body_bytes": 1 << 20}
        async with fault_harness({"server": server, "providers": rows, "routes": routes}) as stage:
            stage.upstream = upstream
            yield stage


async def post_chat(harness, body: bytes, path: str = CHAT, **headers: str):
    sent = {"authorization": f"Bearer {CLIENT_KEY}", "content-type": "application/json", **headers}
    response = await harness.http.post(path, content=body, headers=sent)
    harness.received.append(response.content)
    return response


# -- bodies

BAD_JSON = {
    "100k deep": b'"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100k deep, in objects": b'"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "infinity": b'"temperature":Infinity}',
    "minus infinity": b'"temperature":-Infinity}',
    "a huge exponent": b'"temperature":1e999}',
    "5,000 digits": b'"max_tokens":' + b"9" * 5000 + b"}",
    "5,000 digits for a number": b'"temperature":' + b"9" * 5000 + b"}",
    "a NUL byte": b'"user":"a\x00b"}',
    "a bare control character": b'"user":"a\x1fb"}',
    "a lone surrogate in a name": b'"\\ud800":1}',
    "a surrogate pair the wrong way round": b'"user":"\\udc00\\ud800"}',
    "trailing bytes": b'"user":"a"}x',
    "a second object": b'"user":"a"}{}',
    "a comment": b'"user":"a"/* hi */}',
    "a trailing comma": b'"user":"a",}',
    "single quotes": b"'user':'a'}",
    "overlong utf-8": b'"user":"\xc0\xaf"}',
    "a cut multi-byte character": b'"user":"\xec\x95"}',
    "a raw surrogate": b'"user":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("name", BAD_JSON)
async def test_malformed_json_is_a_client_error(harness, name: str) -> None:
    asked = len(harness.upstream.requests)
    for path in (*PATHS.values(), "/v1/embeddings"):
        response = await post_chat(harness, BODY_PREFIX + BAD_JSON[name], path)
        assert response.status_code == 400, response.text
        assert response.json()["error"]["message"]
    assert len(harness.upstream.requests) == asked


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
async def test_body_must_be_utf_8(harness, encoding: str) -> None:
    body = json.dumps(harness.chat_body("r")).encode(encoding)
    assert (await post_chat(harness, body)).status_code == 400


async def test_duplicate_key_is_forwarded_once(harness) -> None:
    body = BODY_PREFIX + b'"model":"r","user":"one","user":"two"}'
    assert (await post_chat(harness, body)).status_code == 200
    assert harness.upstream.requests[-1].body.count(b'"user":"') == 1


@pytest.mark.parametrize("model", ["r", "a"])
@pytest.mark.parametrize("path", PATHS.values())
async def test_unusual_valid_json_causes_no_server_error(harness, path: str, model: str) -> None:
    for field in (b'"x":' + b"9" * 5000, b'"x":-0.0e-400', b'"x":"\\u0000"', b'"x":1e400', b'"":1'):
        start = BODY_PREFIX.replace(b'"r"', f'"{model}"'.encode())
        response = await post_chat(harness, start + field + b"}", path)
        assert response.status_code in (200, 400), (field[:20], response.text)


# -- HTTP


async def send_raw(harness, data: bytes) -> bytes:
    """Send it and return the whole response until hamlet closes the connection."""
    async with harness.dial() as raw:
        await raw.send(data)
        return await raw.read_all()


def request_head(*lines: str, target: str = CHAT, method: str = "POST") -> bytes:
    named = ["host: x", f"authorization: Bearer {CLIENT_KEY}", *lines]
    return f"{method} {target} HTTP/1.1\r\n{chr(13) + chr(10)}".encode()[:-2] + (
        "\r\n".join(named) + "\r\n\r\n"
    ).encode("latin-1")


BODY = BODY_PREFIX + b'"user":"a"}'
LENGTH = f"content-length: {len(BODY)}"
INNER_REQUEST = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
AMBIGUOUS_REQUESTS = {
    "length and chunked": request_head(LENGTH, "transfer-encoding: chunked")
    + b"0\r\n\r\n"
    + INNER_REQUEST,
    "chunked and length": request_head("transfer-encoding: chunked", LENGTH)
    + b"0\r\n\r\n"
    + INNER_REQUEST,
    "two lengths": request_head("content-length: 0", LENGTH) + BODY,
    "two equal lengths": request_head(LENGTH, LENGTH) + BODY,
    "a list of lengths": request_head(f"content-length: {len(BODY)}, 0") + BODY,
    "a signed length": request_head(f"content-length: +{len(BODY)}") + BODY,
    "a negative length": request_head("content-length: -1") + BODY,
    "a hexadecimal length": request_head("content-length: 0x10") + BODY,
    "an unknown coding": request_head("transfer-encoding: xchunked") + b"0\r\n\r\n" + INNER_REQUEST,
    "chunked, then another coding": request_head("transfer-encoding: chunked, identity")
    + b"0\r\n\r\n",
    "two codings": request_head("transfer-encoding: identity", "transfer-encoding: chunked, x")
    + b"0\r\n\r\n",
    "space before the colon": request_head(LENGTH.replace(":", " :")) + BODY,
    "a folded header": request_head(LENGTH, "x: a\r\n transfer-encoding: chunked") + BODY,
    "a bare CR in a value": request_head(LENGTH, "x: a\rtransfer-encoding: chunked") + BODY,
    "a NUL in a value": request_head(LENGTH, "x: a\x00b") + BODY,
    "a NUL in a name": request_head(LENGTH, "x\x00y: a") + BODY,
    "a bad chunk size": request_head("transfer-encoding: chunked") + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a huge chunk size": request_head("transfer-encoding: chunked") + b"fffffffffffffffff\r\nabc",
    "a chunk that is too short": request_head("transfer-encoding: chunked")
    + b"2\r\nabc\r\n0\r\n\r\n",
    "no host line at all": b"POST\r\n\r\n",
    "an old protocol": b"POST " + CHAT.encode() + b"\r\n\r\n",
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS on a plain port": bytes.fromhex("160301020001000001fc0303"),
    "invalid utf-8 in the path": request_head(LENGTH, target="/v1/chat/\xff").replace(
        b"\xc3\xbf", b"\xff"
    )
    + BODY,
    "a space in the path": request_head(LENGTH, target="/v1/chat completions") + BODY,
}


@pytest.mark.parametrize("name", AMBIGUOUS_REQUESTS)
async def test_ambiguous_http_is_rejected_and_connection_closed(harness, name: str) -> None:
    asked = len(harness.upstream.requests)
    response = await send_raw(harness, AMBIGUOUS_REQUESTS[name])
    statuses = re.findall(rb"HTTP/1.1 (\d+)", response)
    # 401: without headers (HTTP/0.9) there can be no key.
    assert statuses in ([], [b"400"], [b"408"], [b"401"]), response
    assert len(harness.upstream.requests) == asked


@pytest.mark.parametrize("part", ["path", "query", "header"])
async def test_non_ascii_head_bytes_cause_no_server_error(harness, part: str) -> None:
    target = {"path": f"{CHAT}/%ff%fe", "query": f"{CHAT}?x=%ff%c0", "header": CHAT}[part]
    lines = (LENGTH, "connection: close", "x-request-id: \xff\xfe", "user-agent: \xff\x80")
    response = await send_raw(harness, request_head(*lines, target=target) + BODY)
    assert re.findall(rb"HTTP/1.1 (\d+)", response) == [b"404" if part == "path" else b"200"]
    assert b"\xff" not in response


async def test_request_head_size_is_limited(harness) -> None:
    for lines in (
        [f"x: {'y' * MAX_HEAD_BYTES}"],
        [f"x{n}: y" for n in range(10_000)],
        [f"authorization: Bearer {'k' * 2 * MAX_HEAD_BYTES}"],
    ):
        response = await send_raw(harness, request_head(*lines) + BODY)
        assert response.startswith(b"HTTP/1.1 431 "), response[:100]
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["message"]
    endless = b"POST / HTTP/1.1\r\nx: " + b"y" * (1 << 20)
    assert (await send_raw(harness, endless)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.slow
async def test_incomplete_body_times_out(harness) -> None:
    for data in (
        request_head("transfer-encoding: chunked") + b"5\r\n{    \r\n",
        request_head(f"content-length: {len(BODY) + 9}") + BODY,
        request_head("content-length: 9"),
    ):
        response = await send_raw(harness, data)
        assert response.startswith(b"HTTP/1.1 408 "), response
        assert b"connection: close" in response.lower()
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


async def test_bytes_after_content_length_are_the_next_request(harness) -> None:
    asked = len(harness.upstream.requests)
    response = await send_raw(harness, request_head(LENGTH) + BODY + b"surplus\r\n\r\n")
    assert b"HTTP/1.1 400" in response
    assert len(harness.upstream.requests) <= asked + 1


async def test_chunked_body_over_limit_is_rejected(harness) -> None:
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    response = await send_raw(
        harness,
        request_head("transfer-encoding: chunked", "connection: close") + chunk * 8 + b"0\r\n\r\n",
    )
    assert response.startswith(b"HTTP/1.1 413 ")


# -- headers


async def test_no_client_header_reaches_the_upstream(harness) -> None:
    mine = {
        "x-ms-spillover-deployment": "other",
        "x-spy": "spy",
        "api-key": CLIENT_KEY,
        "x-api-key": CLIENT_KEY,
        "cookie": "spy=1",
        "forwarded": "for=spy",
        "x-forwarded-for": "spy",
        "openai-organization": "spy",
        "anthropic-beta": "spy",
        "te": "trailers",
        "proxy-authorization": "Basic spy",
    }
    for path in PATHS.values():
        for model in ("r", "a"):
            response = await post_chat(
                harness, BODY.replace(b'"r"', f'"{model}"'.encode()), path, **mine
            )
            assert response.status_code == 200
            sent = harness.upstream.requests[-1].headers
            assert not set(mine) - {"x-api-key"} & set(sent)
            assert "spy" not in str(sent)
            assert CLIENT_KEY not in str(sent)
            assert sent["host"] in harness.upstream.url


@pytest.mark.parametrize("odd", ["a\tb", "a b", "x" * 65, "a;b", '"', "\u00e9"])
async def test_request_id_is_echoed_only_if_valid(harness, odd: str) -> None:
    response = await send_raw(
        harness, request_head(LENGTH, "connection: close", f"x-request-id: {odd}") + BODY
    )
    found = re.search(rb"x-request-id: (\S+)", response)
    assert found
    assert found[1].startswith(b"req_")


async def test_log_event_is_a_single_line(harness) -> None:
    odd = 'x\n{"event":"forged"}\r\x1b[31m\u2028"},'
    for model in (odd, "r"):
        body = {
            **harness.chat_body(model, stream=False),
            "user": odd,
            odd: 1,
            "metadata": {odd: odd},
        }
        response = await post_chat(harness, json.dumps(body).encode())
        assert response.status_code in ((200,) if model == "r" else (400, 404)), response.text
    await post_chat(harness, b"{}", f"/v1/models/{odd!r}".replace("\n", "%0a"))
    # Each line is JSON, or this would not have parsed.
    assert not any(line["event"] == "forged" for line in harness.log)
    assert "\x1b" not in harness.running.log.getvalue()


# -- metrics, keys


async def test_caller_input_does_not_create_metric_series(harness) -> None:
    rng = random.Random(61)

    async def flood(count: int) -> None:
        for _ in range(count):
            word = "".join(rng.choices(string.ascii_letters, k=12))
            await post_chat(harness, json.dumps(harness.chat_body(word)).encode())
            await harness.http.get(f"/{word}/{word}")
            await harness.http.post(
                CHAT, content=b"{}", headers={"authorization": f"Bearer {word}"}
            )
            await harness.http.request("BREW", f"/v1/models/{word}")

    await flood(5)
    before = (await harness.metrics()).count("\n")
    await flood(150)
    text = await harness.metrics()
    assert text.count("\n") == before
    assert len(text) < 1 << 20


async def test_key_guessing_always_fails_without_side_effects(harness) -> None:
    rng = random.Random(62)
    for n in range(300):
        guess = f"hk-canary-client-{rng.randrange(1 << 32):08x}"
        response = await harness.http.post(CHAT, content=BODY, headers={"x-api-key": guess})
        assert response.status_code == 401
        if n % 100 == 0:
            assert (await post_chat(harness, BODY)).status_code == 200
    lookalikes = [
        CLIENT_KEY.upper(),
        f"{CLIENT_KEY} ",
        CLIENT_KEY[:-1],
        CLIENT_KEY + "\u200b",
        CLIENT_KEY.replace("c", "\u0441"),
        CLIENT_KEY + "\x00",
        "k" * 60_000,
        "",
        "Bearer",
    ]
    for guess in lookalikes:
        sent = [(b"x-api-key", guess.encode())]
        if guess.strip() == CLIENT_KEY or "\x00" in guess:
            continue
        response = await harness.http.post(CHAT, content=BODY, headers=sent)
        assert response.status_code == 401, guess
        assert guess[:20] not in response.text or not guess


async def test_server_still_answers_after_bad_requests(harness) -> None:
    assert (await harness.chat("r")).text == GOOD_ANSWER_TEXT
