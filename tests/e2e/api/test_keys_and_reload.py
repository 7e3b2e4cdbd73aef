"""API keys with their routes and rate limits, and reloading while serving."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from hamlet.app import create_app
from hamlet.config import ConfigError
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, environment, run_server

HASH = hashlib.sha256(b"hk_hashed").hexdigest()
KEYS = f"""
keys:
  - {{name: server, secret: env:TEST_SERVER_KEY}}
  - {{name: chat-only, hash: "sha256:{HASH}", routes: [hamlet], rate: 2/h}}
  - {{name: page, kind: publishable, secret: env:TEST_PAGE_KEY, routes: [suggest], origins: ["https://app.example"]}}
  - {{name: bare-page, kind: publishable, secret: env:TEST_BARE_KEY}}
  - {{name: ops, secret: env:TEST_OPS_KEY, admin: true}}
"""
SECRETS = {
    "TEST_SERVER_KEY": "hk_server",
    "TEST_PAGE_KEY": "hk_page",
    "TEST_BARE_KEY": "hk_bare",
    "TEST_OPS_KEY": "hk_ops",
}
CHAT_BODY = {"model": "hamlet", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http():
    async with (
        environment(SECRETS),
        run_server(EMBEDDED_PROVIDER + EMBEDDED_ROUTES + KEYS) as running,
    ):
        async with httpx2.AsyncClient(base_url=running.url) as http:
            yield http


def bearer_headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers", [bearer_headers("hk_server"), {"x-api-key": "hk_server"}, {"api-key": "hk_server"}]
)
async def test_valid_key_is_accepted_in_every_vendor_header(http, headers) -> None:
    assert (
        await http.post("/v1/chat/completions", json=CHAT_BODY, headers=headers)
    ).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, bearer_headers("wrong"), {"authorization": "Basic hk_server"}]
)
async def test_unknown_key_is_rejected(http, headers) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/suggest"):
        response = await http.post(path, json=CHAT_BODY, headers=headers)
        assert response.status_code == 401, path
    assert (await http.get("/v1/models", headers=headers)).status_code == 401
    assert (await http.get("/livez")).status_code == 200


async def test_key_is_limited_to_its_routes(http) -> None:
    mine = bearer_headers("hk_hashed")
    listed = (await http.get("/v1/models", headers=mine)).json()["data"]
    assert [row["id"] for row in listed] == ["hamlet"]
    refused = await http.post(
        "/v1/embeddings", json={"model": "hamlet-embed", "input": "a"}, headers=mine
    )
    assert refused.status_code == 404


async def test_key_rate_limit_returns_retry_after(http) -> None:
    mine = bearer_headers("hk_hashed")
    statuses = [
        (await http.post("/v1/chat/completions", json=CHAT_BODY, headers=mine)) for _ in range(3)
    ]
    assert [response.status_code for response in statuses] == [200, 200, 429]
    assert int(statuses[-1].headers["retry-after"]) > 1000
    assert statuses[-1].headers["x-should-retry"] == "true"


async def test_publishable_key_is_limited_to_routes_and_origins(http) -> None:
    here = bearer_headers("hk_page") | {"origin": "https://app.example"}
    assert (await http.post("/v1/suggest", json={}, headers=here)).status_code == 200
    assert (
        await http.post("/v1/chat/completions", json=CHAT_BODY, headers=here)
    ).status_code == 404
    there = bearer_headers("hk_page") | {"origin": "https://evil.example"}
    assert (await http.post("/v1/suggest", json={}, headers=there)).status_code == 403
    assert (
        await http.post("/v1/suggest", json={}, headers=bearer_headers("hk_bare"))
    ).status_code == 404


async def test_reload_needs_an_admin_key(http) -> None:
    for key, status in (("hk_server", 403), ("wrong", 401), ("hk_ops", 200)):
        response = await http.post("/v1/admin/reload", headers=bearer_headers(key))
        assert response.status_code == status, key


async def test_reload_applies_routes_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES)
    async with run_server(file) as running, httpx2.AsyncClient(base_url=running.url) as http:
        open_stream = await running.hamlet.gateway.chat(*make_call())
        file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES.replace("  hamlet:", "  renamed:"))
        assert (await http.post("/v1/admin/reload")).status_code == 200
        renamed = CHAT_BODY | {"model": "renamed"}
        assert (await http.post("/v1/chat/completions", json=renamed)).status_code == 200
        assert (await http.post("/v1/chat/completions", json=CHAT_BODY)).status_code == 404
        assert [event async for event in open_stream]
        await open_stream.aclose()

        file.write_text("providers: {embedded: {kind: embeded}}\nroutes: {}\nkey: 1\n")
        refused = await http.post("/v1/admin/reload")
        assert refused.status_code == 422
        assert {problem["path"] for problem in refused.json()["problems"]} == {
            "providers.embedded.kind",
            "routes",
            "key",
        }
        assert (await http.post("/v1/chat/completions", json=renamed)).status_code == 200
        reloads = [
            line
            for line in (await http.get("/metrics")).text.splitlines()
            if "reloads_total{" in line
        ]
        assert sorted(reloads) == [
            'hamlet_config_reloads_total{outcome="ok"} 1.0',
            'hamlet_config_reloads_total{outcome="refused"} 1.0',
        ]


@pytest.mark.parametrize(
    ("section", "path"),
    [
        (
            "cutover: {legacy_url: http://127.0.0.1:1, state: state.json, "
            "features: {chat: {paths: [/chat]}}, chat_route: absent}",
            "cutover.chat_route",
        ),
        ("telemetry: {otlp: http://127.0.0.1:1}", "telemetry.otlp"),
    ],
)
async def test_reload_refuses_what_a_start_refuses(
    tmp_path: Path, monkeypatch, section: str, path: str
) -> None:
    # As without the extra `otel`.
    monkeypatch.setattr(
        "hamlet.core.extras.find_spec",
        lambda name: None if name.startswith("opentelemetry") else find_spec(name),
    )
    file = tmp_path / "hamlet.yaml"
    file.write_text(EMBEDDED_PROVIDER + EMBEDDED_ROUTES)
    async with run_server(file) as running, httpx2.AsyncClient(base_url=running.url) as http:
        renamed = EMBEDDED_PROVIDER + EMBEDDED_ROUTES.replace("  hamlet:", "  renamed:")
        refused_text = renamed + section + "\n"
        file.write_text(refused_text)
        with pytest.raises(ConfigError) as at_start:
            create_app(file)
        response = await http.post("/v1/admin/reload")
        assert response.status_code == 422
        (problem,) = response.json()["problems"]
        (expected,) = at_start.value.problems
        assert problem == {
            "path": expected.path,
            "line": expected.line,
            "message": expected.message,
        }
        assert expected.path == path
        assert expected.line == refused_text.count("\n")
        routes = (await http.get("/v1/models")).json()["data"]
        assert "renamed" not in {row["id"] for row in routes}
        assert (await http.post("/v1/chat/completions", json=CHAT_BODY)).status_code == 200


def make_call():
    from hamlet.gateway import Call, Caller
    from hamlet.testing.cases import chat_request

    return Call.from_request(chat_request("hi", "hamlet", stream=True)), Caller()
