"""Administration of content, pins and caches while hamlet serves."""

import asyncio
import json
import sys

import httpx2
import pytest

from hamlet.testing import LoopbackUpstream, sse_reply
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server

LINK = {
    "id": "roses",
    "url": "https://roses.example.org/",
    "title": {"ko": "장미 도감", "en": "Rose book", "ja": "バラ図鑑"},
    "tags": {"ko": "장미 가지치기 정원", "en": "rose pruning garden"},
    "site_lang": "ko",
}
CHIP = {
    "id": "rose-prune",
    "text": {"ko": "전지가위 고르는 기준"},
    "prompt": {"ko": "장미를 다듬을 전지가위를 고르는 기준을 알려줘"},
    "tags": {"ko": "장미 정원 가지치기"},
    "kind": "howto",
}
QUERY = {"context": {"query": "장미 가지치기"}, "locale": {"lang": "ko"}}


@pytest.fixture
async def config(tmp_path) -> str:
    return (
        EMBEDDED_PROVIDER
        + EMBEDDED_ROUTES
        + f"suggest: {{packs: {{folder: '{tmp_path / 'packs'}'}}}}\n"
    )


@pytest.fixture
async def http(config: str):
    client = httpx2.AsyncClient(timeout=60)
    async with run_server(config) as running, client as http:
        http.base_url = running.url
        yield http


async def add(http, kind: str, *rows: dict | str, **params) -> httpx2.Response:
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return await http.post(
        f"/v1/admin/catalogue/{kind}", content=lines, params={"license": "CC0", **params}
    )


async def suggest(http, **body) -> dict:
    return (await http.post("/v1/suggest", json=QUERY | body)).json()


async def test_added_rows_are_shown_and_invalid_ones_reported(http) -> None:
    response = await add(http, "links", LINK, "{", LINK | {"url": "ftp://x"})
    assert response.json()["accepted"] == 1
    assert [row["line"] for row in response.json()["rejected"]] == [2, 3]
    assert (await add(http, "chips", CHIP)).status_code == 200
    shown = await suggest(http)
    assert shown["links"]["items"][0]["url"] == LINK["url"]
    assert "전지가위 고르는 기준" in [chip["text"] for chip in shown["chips"]["items"]]
    stats = (await http.get("/v1/admin/catalogue")).json()
    assert {pack["name"] for pack in stats["packs"]} == {"admin-links", "admin-chips"}


async def test_concurrently_added_rows_are_all_stored(http) -> None:
    rows = [LINK | {"id": f"roses-{i}", "url": f"https://roses{i}.example.org/"} for i in range(5)]
    before = (await http.get("/v1/admin/catalogue")).json()["links"]
    responses = await asyncio.gather(*(add(http, "links", row) for row in rows))
    assert [response.json()["accepted"] for response in responses] == [1] * 5
    assert (await http.get("/v1/admin/catalogue")).json()["links"] == before + 5


async def test_added_rows_survive_a_restart(http, config: str) -> None:
    await add(http, "links", LINK)
    async with run_server(config) as other, httpx2.AsyncClient(base_url=other.url) as again:
        assert (await suggest(again))["links"]["items"][0]["url"] == LINK["url"]


async def test_reload_picks_up_changed_pack(http, tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(LINK))
    command = ["catalogue", "import", str(file), "--folder", str(tmp_path / "packs")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hamlet", *command, "--license", "CC0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert b"1 taken, 0 refused" in out
    assert (await http.post("/v1/admin/reload")).status_code == 200
    assert (await suggest(http))["links"]["items"][0]["url"] == LINK["url"]


async def test_broken_pack_is_rejected_and_old_content_kept(http, tmp_path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "x.manifest.json").write_text("{}")
    refused = await http.post("/v1/admin/reload")
    assert refused.status_code == 422
    assert refused.json()["problems"][0]["path"] == "suggest.packs.folder"
    assert (await suggest(http))["chips"]["items"]


async def test_pinned_item_is_first_until_unpinned(http) -> None:
    pins = [{"links": ["nasa", "kma"], "chips": ["sp-run"], "lang": "ko", "surface": "search"}]
    assert (await http.put("/v1/admin/pins", json=pins)).json() == {"pins": 1}
    shown = await suggest(http)
    assert shown["links"]["tier"] == shown["chips"]["tier"] == "pinned"
    assert [i["why"]["code"] for i in shown["links"]["items"]][:2] == ["pinned", "pinned"]
    assert shown["chips"]["items"][0]["text"] == "달리기 시작하기"
    assert (await http.get("/v1/admin/pins")).json()[0]["links"] == ["nasa", "kma"]
    crisis = await suggest(http, context={"query": "죽고 싶어"})
    assert {i["why"]["code"] for i in crisis["links"]["items"]} == {"safety"}
    await http.put("/v1/admin/pins", json=[])
    assert (await suggest(http))["links"]["tier"] != "pinned"


@pytest.mark.parametrize("pins", [[{"links": ["no-such-row"]}], [{"odd": 1}], {"links": []}])
async def test_invalid_pins_change_nothing(http, pins) -> None:
    assert (await http.put("/v1/admin/pins", json=pins)).status_code == 400
    assert (await http.get("/v1/admin/pins")).json() == []


async def test_admin_endpoints_require_admin_key(monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", "k-1")
    keys = "keys: [{name: app, secret: env:TEST_KEY}]\n"
    async with run_server(keys + EMBEDDED_PROVIDER + EMBEDDED_ROUTES) as running:
        async with httpx2.AsyncClient(base_url=running.url, headers={"x-api-key": "k-1"}) as http:
            for method, path in (
                ("PUT", "pins"),
                ("POST", "cache/purge"),
                ("GET", "sources"),
                ("GET", "catalogue"),
                ("POST", "reload"),
            ):
                response = await http.request(method, f"/v1/admin/{path}", content="[]")
                assert response.status_code == 403, path
            assert (await add(http, "links", LINK)).status_code == 403


async def test_pinned_chip_precedes_generated_chips() -> None:
    line = json.dumps({"t": "막차 놓쳤을 때", "p": "지하철 막차를 놓쳤을 때 방법", "k": "howto"})
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk["choices"] = [{"index": 0, "delta": {"content": line}, "finish_reason": "stop"}]
    async with LoopbackUpstream() as model:
        model.respond(lambda _: sse_reply([f"data: {json.dumps(chunk)}\n\n".encode()]))
        config = (
            f"providers: {{m: {{kind: openai, base_url: '{model.url}/v1'}}}}\n"
            "routes: {chips: {deployments: [{provider: m, model: gpt-4o-mini}]}}\n"
            "suggest: {chip_route: chips}\n"
        )
        async with run_server(config) as running, httpx2.AsyncClient(base_url=running.url) as http:
            await http.put("/v1/admin/pins", json=[{"chips": ["sp-run"], "lang": "ko"}])
            shown = await suggest(http, context={"query": "서울 지하철 막차"}, budget_ms=2000)
    assert shown["chips"]["tier"] == "pinned"
    assert [c["text"] for c in shown["chips"]["items"]][:2] == [
        "달리기 시작하기",
        "막차 놓쳤을 때",
    ]
