"""The web tier of links: within the budget, cached, and untrusted."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from hamlet.suggest.content import shipped_links
from hamlet.testing import Canned, LoopbackUpstream, json_reply
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, run_server

CONFIG = (
    EMBEDDED_PROVIDER
    + EMBEDDED_ROUTES
    + "suggest: {sources: {first: {kind: searxng, base_url: '%s/one'}, second: {kind: searxng, base_url: '%s/two'}}}\n"
)
QUERY = {"context": {"query": "서울 지하철 막차"}, "budget_ms": 2000, "links": {"limit": 4}}


def search_reply(*urls: str) -> Canned:
    rows = [{"title": f"지하철 {i}", "url": url, "content": "막차"} for i, url in enumerate(urls)]
    return json_reply({"results": rows})


SEARCH_REPLY = search_reply(
    "https://one.example/a?utm_source=x",
    "https://www.one.example/a/",
    "https://one.example/b",
    "https://one.example/c",
    "http://plain.example/",
    "javascript:alert(1)",
    "https://[bad",
)


@pytest.fixture
async def web() -> AsyncIterator[LoopbackUpstream]:
    async with LoopbackUpstream() as upstream:
        upstream.reply(SEARCH_REPLY)
        yield upstream


@pytest.fixture
async def http(web: LoopbackUpstream):
    async with run_server(CONFIG % (web.url, web.url)) as running:
        async with httpx2.AsyncClient(base_url=running.url) as http:
            yield http


async def fetch_links(http, **body) -> dict:
    response = await http.post("/v1/links/related", json=QUERY | body)
    assert response.status_code == 200, response.text
    return response.json()["links"]


async def test_web_links_come_first_and_are_cached(http, web) -> None:
    first = await fetch_links(http)
    urls = [item["url"] for item in first["items"]]
    assert first["tier"] == "web"
    assert urls[:2] == ["https://one.example/a", "https://one.example/b"]
    assert urls[2:], "the catalogue completes the section"
    assert set(urls[2:]) <= {row.url for row in shipped_links()}
    assert [item["position"] for item in first["items"]] == list(range(1, len(urls) + 1))
    again = await fetch_links(http)
    assert again["tier"] == "cache"
    assert [item["id"] for item in again["items"]] == [item["id"] for item in first["items"]]
    assert len(web.requests) == 1


async def test_slow_search_falls_back_to_catalogue(http, web) -> None:
    gate = asyncio.Event()
    web.reply(
        Canned(200, {"content-type": "application/json"}, [b"{", b'"results": []}'], gate=gate)
    )
    response = (await http.post("/v1/suggest", json=QUERY | {"budget_ms": 100})).json()
    assert response["links"]["tier"] == "embedded"
    assert response["degradations"][0] == {
        "part": "links",
        "origin": "web",
        "to": "embedded",
        "reason": "deadline",
    }
    gate.set()


@pytest.mark.parametrize(
    "fault", [json_reply({}, 429), json_reply(b"<html>"), Canned(before="reset")]
)
async def test_search_fails_over_to_second_source(http, web, fault: Canned) -> None:
    web.respond(lambda request: fault if request.path.startswith("/one") else SEARCH_REPLY)
    assert (await fetch_links(http))["tier"] == "web"


async def test_failing_search_falls_back_and_is_not_retried_at_once(http, web) -> None:
    web.reply(json_reply({}, 500))
    for _ in range(3):
        shown = await fetch_links(http)
        assert shown["tier"] == "embedded"
        assert shown["items"]
    assert len(web.requests) == 2, "one call of each source"


@pytest.mark.parametrize("query", ["죽고 싶어", "010-1234-5678 누구 번호", ""])
async def test_sensitive_queries_are_not_sent_to_search(http, web, query: str) -> None:
    assert (await fetch_links(http, context={"query": query}))["items"]
    assert web.requests == []
