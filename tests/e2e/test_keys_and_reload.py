"""Keys, their routes and rates; reloading while serving."""

import hashlib
from pathlib import Path

import httpx2
import pytest

from support.server import FAST, ROUTES, environment, serving

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
CALL = {"model": "hamlet", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http():
    async with environment(SECRETS), serving(FAST + ROUTES + KEYS) as running:
        async with httpx2.AsyncClient(base_url=running.url) as http:
            yield http


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers", [bearer("hk_server"), {"x-api-key": "hk_server"}, {"api-key": "hk_server"}]
)
async def test_a_known_key_opens_in_every_vendors_header(http, headers) -> None:
    assert (await http.post("/v1/chat/completions", json=CALL, headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"authorization": "Basic hk_server"}])
async def test_without_a_known_key_nothing_opens(http, headers) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/suggest"):
        response = await http.post(path, json=CALL, headers=headers)
        assert response.status_code == 401, path
    assert (await http.get("/v1/models", headers=headers)).status_code == 401
    assert (await http.get("/livez")).status_code == 200


async def test_a_key_sees_and_opens_only_its_routes(http) -> None:
    mine = bearer("hk_hashed")
    listed = (await http.get("/v1/models", headers=mine)).json()["data"]
    assert [row["id"] for row in listed] == ["hamlet"]
    refused = await http.post(
        "/v1/embeddings", json={"model": "hamlet-embed", "input": "a"}, headers=mine
    )
    assert refused.status_code == 404


async def test_a_rate_is_kept_and_says_when_to_come_back(http) -> None:
    mine = bearer("hk_hashed")
    statuses = [
        (await http.post("/v1/chat/completions", json=CALL, headers=mine)) for _ in range(3)
    ]
    assert [response.status_code for response in statuses] == [200, 200, 429]
    assert int(statuses[-1].headers["retry-after"]) > 1000
    assert statuses[-1].headers["x-should-retry"] == "true"


async def test_a_publishable_key_opens_what_it_names_from_where_it_may(http) -> None:
    here = bearer("hk_page") | {"origin": "https://app.example"}
    assert (await http.post("/v1/suggest", json={}, headers=here)).status_code == 200
    assert (await http.post("/v1/chat/completions", json=CALL, headers=here)).status_code == 404
    there = bearer("hk_page") | {"origin": "https://evil.example"}
    assert (await http.post("/v1/suggest", json={}, headers=there)).status_code == 403
    assert (await http.post("/v1/suggest", json={}, headers=bearer("hk_bare"))).status_code == 404


async def test_only_an_admin_may_reload(http) -> None:
    for key, status in (("hk_server", 403), ("wrong", 401), ("hk_ops", 200)):
        response = await http.post("/v1/admin/reload", headers=bearer(key))
        assert response.status_code == status, key


async def test_a_reload_changes_routes_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(FAST + ROUTES)
    async with serving(file) as running, httpx2.AsyncClient(base_url=running.url) as http:
        held = await running.hamlet.gateway.chat(*held_call())
        file.write_text(FAST + ROUTES.replace("  hamlet:", "  renamed:"))
        assert (await http.post("/v1/admin/reload")).status_code == 200
        renamed = CALL | {"model": "renamed"}
        assert (await http.post("/v1/chat/completions", json=renamed)).status_code == 200
        assert (await http.post("/v1/chat/completions", json=CALL)).status_code == 404
        assert [event async for event in held]
        await held.aclose()

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


def held_call():
    from hamlet.gateway import Call, Caller
    from hamlet.testing.cases import ask

    return Call.of(ask("hi", "hamlet", stream=True)), Caller()
