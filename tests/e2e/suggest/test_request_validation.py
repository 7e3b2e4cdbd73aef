"""Options of requests to the main screen, and their effect."""

import httpx2
import pytest

from hamlet.gateway import Caller
from hamlet.testing import Canned, LoopbackUpstream
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server

TRANSIT = {"query": "서울 지하철 막차 시간"}


@pytest.fixture
async def running():
    async with run_server(EMBEDDED_PROVIDER + EMBEDDED_ROUTES) as running:
        yield running


@pytest.fixture
async def http(running):
    async with httpx2.AsyncClient(base_url=running.url) as http:
        yield http


async def suggest(http, headers=None, **body) -> dict:
    response = await http.post("/v1/suggest", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_unknown_fields_warn_and_strict_mode_rejects_them(http) -> None:
    body = {"contxt": 1, "context": {**TRANSIT, "odd": {}}, "links": {"limit": 2}}
    shown = await suggest(http, **body)
    assert set(shown["warnings"]) == {"unknown_field:/contxt", "unknown_field:/context/odd"}
    assert len(shown["links"]["items"]) <= 2
    strict = await http.post("/v1/suggest", json={**body, "strict": True})
    assert strict.status_code == 422
    assert {e["pointer"] for e in strict.json()["errors"]} == {"/contxt", "/context/odd"}


async def test_hosts_are_excluded_or_included(http) -> None:
    first = (await suggest(http, context=TRANSIT))["links"]["items"][0]["source"]["host"]
    without = await suggest(http, context=TRANSIT, links={"exclude_hosts": [first.upper()]})
    assert first not in [i["source"]["host"] for i in without["links"]["items"]]
    only = await suggest(http, context=TRANSIT, links={"include_hosts": ["go.kr"]})
    assert only["links"]["items"]
    assert all(i["source"]["host"].endswith(".go.kr") for i in only["links"]["items"])


async def test_interests_rank_first_screen_unless_private(http) -> None:
    user = {"id": "u-1", "interests": ["야구", "우주"]}
    body = {"locale": {"lang": "ko"}, "user": user}
    titles = [i["title"] for i in (await suggest(http, **body))["links"]["items"]]
    assert any("KBO" in title for title in titles[:2])
    private = await suggest(http, headers={"sec-gpc": "1"}, **body)
    plain = await suggest(http, locale={"lang": "ko"})
    assert [i["id"] for i in private["links"]["items"]] == [
        i["id"] for i in plain["links"]["items"]
    ]


async def test_fallback_disallowed_returns_503(http) -> None:
    body = {"context": TRANSIT, "allow": {"embedded": False}}
    refused = await http.post("/v1/suggest", json=body, headers={"accept-language": "ko"})
    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/fallback-disallowed"
    assert "허용된" in refused.json()["detail"]


async def test_stream_is_requested_in_the_body(http) -> None:
    response = await http.post("/v1/suggest", json={"context": TRANSIT, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    assert '"budget_ms":4000' in response.text


async def test_local_suggestions_are_served_at_admission_limit(running, http) -> None:
    admission = running.hamlet.gateway.admission
    admission.max_in_flight = 1
    admission.acquire_slot_nowait(Caller("x"))
    shown = await suggest(http, context=TRANSIT)
    assert len(shown["chips"]["items"]) == 4
    stream = await http.post("/v1/suggest", json={"context": TRANSIT, "stream": True})
    assert "event: done" in stream.text
    assert admission.in_flight == 1


async def test_overload_reports_skipped_tiers() -> None:
    async with LoopbackUpstream() as model:
        model.reply(Canned(before="hang"))
        config = (
            f"providers: {{m: {{kind: openai, base_url: '{model.url}/v1'}}}}\n"
            "routes: {chips: {deployments: [{provider: m, model: gpt-4o-mini}]}}\n"
            "suggest: {chip_route: chips, sources: {web: {kind: searxng, base_url: 'http://127.0.0.1:9'}}}\n"
        )
        async with run_server(config) as running, httpx2.AsyncClient(base_url=running.url) as http:
            running.hamlet.gateway.admission.max_in_flight = 0
            shown = await suggest(http, context=TRANSIT)
            assert [d["reason"] for d in shown["degradations"]] == ["overload", "overload"]
            assert model.requests == []


async def test_chips_name_the_links_that_ground_them(http) -> None:
    shown = await suggest(http, context=TRANSIT)
    ids = {link["id"] for link in shown["links"]["items"]}
    grounded = [chip for chip in shown["chips"]["items"] if chip["grounding"]]
    assert grounded
    assert all(set(chip["grounding"]) <= ids for chip in grounded)


async def test_chips_name_the_site_of_the_query(http) -> None:
    for query, name in (
        ("홈택스에서 뭐 할 수 있어?", "홈택스"),
        ("https://www.data.go.kr/ 여기서 뭐 할 수 있어?", "공공데이터포털"),
    ):
        chips = (await suggest(http, context={"query": query}))["chips"]["items"]
        assert any(name in chip["prompt"] for chip in chips), [c["prompt"] for c in chips]
        assert not any("{" in chip["text"] + chip["prompt"] for chip in chips)


async def test_get_limits_the_query_and_streams(http) -> None:
    long = await http.get("/v1/chips", params={"q": "x" * 201})
    assert (long.status_code, long.json()["type"]) == (400, "/problems/invalid-json")
    stream = await http.get("/v1/chips?q=roses", headers={"accept": "text/event-stream"})
    assert "event: chips" in stream.text
