"""Web sources against their vendors' documented answers, errors and limits."""

from contextlib import suppress

import httpx2
import pytest
import respx

from hamlet.config import ConfigError, loads
from hamlet.registry import build
from hamlet.registry.sources import build_sources
from hamlet.spi.sources import LinkQuery, SourceError
from hamlet.suggest.links import canonical
from hamlet.testing.support import SilentLog

CONFIG = """
providers: {{e: {{kind: embedded}}}}
routes: {{r: {{deployments: [{{provider: e, model: embedded-chat}}]}}}}
suggest:
  sources:
    web: {{kind: {kind}{settings}}}
"""
SETTINGS = {
    "brave": ", api_key: env:TEST_SOURCE_KEY",
    "tavily": ", api_key: env:TEST_SOURCE_KEY",
    "exa": ", api_key: env:TEST_SOURCE_KEY",
    "searxng": ", base_url: 'http://searx.test'",
    "naver": ", client_id: id-1, client_secret: env:TEST_SOURCE_KEY",
}
ADDRESS = {
    "brave": "https://api.search.brave.com/res/v1/web/search",
    "tavily": "https://api.tavily.com/search",
    "exa": "https://api.exa.ai/search",
    "searxng": "http://searx.test/search",
    "naver": "https://openapi.naver.com/v1/search/webkr.json",
}
URL = "https://www.seoulmetro.co.kr/kr/page.do?utm_source=x"
ANSWERS = {
    "brave": {
        "web": {
            "results": [
                {
                    "title": "서울 <strong>지하철</strong>",
                    "url": URL,
                    "description": "막차 &amp; 첫차",
                    "page_age": "2026-11-01T00:00:00",
                }
            ]
        }
    },
    "tavily": {
        "results": [{"title": "서울 지하철", "url": URL, "content": "막차 & 첫차", "score": 0.9}]
    },
    "exa": {
        "results": [
            {"title": "서울 지하철", "url": URL, "text": "막차 & 첫차", "publishedDate": None},
            {"title": None, "url": URL},
        ]
    },
    "searxng": {
        "results": [{"title": "서울 지하철", "url": URL, "content": "막차 & 첫차", "score": 14.2}]
    },
    "naver": {
        "items": [{"title": "서울 <b>지하철</b>", "link": URL, "description": "막차 &amp; 첫차"}]
    },
}
KEY_HEADER = {
    "brave": "x-subscription-token",
    "tavily": "authorization",
    "exa": "x-api-key",
    "naver": "x-naver-client-secret",
}
QUERY = LinkQuery("서울 지하철 막차", "ko", 5)


@pytest.fixture(params=SETTINGS)
async def kind(request):
    return request.param


@pytest.fixture
async def source(kind: str, monkeypatch):
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    (source,) = build_sources(loads(CONFIG.format(kind=kind, settings=SETTINGS[kind]))).values()
    yield source
    await source.aclose()


@pytest.fixture
def web():
    with respx.mock(using="httpx") as mock:
        yield mock


async def test_reads_the_documented_answer(web, source, kind: str) -> None:
    route = web.route(url__startswith=ADDRESS[kind]).respond(json=ANSWERS[kind])
    (link,) = await source.search(QUERY)
    assert (link.url, link.title, link.snippet) == (URL, "서울 지하철", "막차 & 첫차")
    assert (link.language, link.source) == ("ko", kind)
    assert 0 < link.score <= 1
    request = route.calls[0].request
    if kind in KEY_HEADER:
        assert "secret-0123456789" in request.headers[KEY_HEADER[kind]]
    assert "secret" not in str(request.url)


NEWEST = {
    "brave": ["freshness=pw", "safesearch=strict", "country=US"],
    "tavily": ['"time_range":"week"'],
    "exa": ['"startPublishedDate":"'],
    "searxng": ["time_range=week", "safesearch=2"],
    "naver": [],
}


async def test_passes_on_how_new_how_safe_and_from_where(web, source, kind: str) -> None:
    route = web.route(url__startswith=ADDRESS[kind]).respond(json=ANSWERS[kind])
    query = LinkQuery("subway", "ko", 5, country="US", freshness="week", safe="strict")
    assert await source.search(query)
    request = route.calls[0].request
    said = f"{request.url} {request.content.decode()}"
    assert all(part in said for part in NEWEST[kind]), said


async def test_says_how_long_it_wants_to_be_left_alone(web, source, kind: str) -> None:
    limited = web.route(url__startswith=ADDRESS[kind])
    limited.respond(429, headers={"retry-after": "17"})
    with pytest.raises(SourceError) as caught:
        await source.search(QUERY)
    assert caught.value.retry_after_s == 17.0


async def test_asks_nothing_for_an_empty_query(web, source) -> None:
    assert await source.search(LinkQuery("", "ko", 5)) == []
    assert not web.calls


@pytest.mark.parametrize("status", [401, 403, 422, 429, 500])
async def test_an_error_status_is_a_source_error(web, source, kind: str, status: int) -> None:
    web.route(url__startswith=ADDRESS[kind]).respond(status, json={"message": "secret-0123456789"})
    with pytest.raises(SourceError, match=str(status)) as caught:
        await source.search(QUERY)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[]",
        b'{"results": [{"title": 1}]}',
        b'{"web": {"results": [3]}}',
        b'{"items": [{}]}',
    ],
)
async def test_an_odd_answer_is_a_source_error_or_nothing(
    web, source, kind: str, content: bytes
) -> None:
    web.route(url__startswith=ADDRESS[kind]).respond(content=content)
    found = []
    with suppress(SourceError):
        found = await source.search(QUERY)
    assert found == []


@pytest.mark.parametrize("trouble", [httpx2.ConnectError("x"), httpx2.ReadTimeout("x")])
async def test_a_network_error_is_a_source_error(web, source, kind: str, trouble) -> None:
    web.route(url__startswith=ADDRESS[kind]).mock(side_effect=trouble)
    with pytest.raises(SourceError, match=type(trouble).__name__):
        await source.search(QUERY)


async def test_a_days_quota_is_respected_and_shown(web, monkeypatch) -> None:
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    settings = SETTINGS["naver"] + ", daily_quota: 2"
    (source,) = build_sources(loads(CONFIG.format(kind="naver", settings=settings))).values()
    web.route(url__startswith=ADDRESS["naver"]).respond(json=ANSWERS["naver"])
    for left in (1, 0):
        await source.search(QUERY)
        assert source.quota_left == left
    with pytest.raises(SourceError, match="quota"):
        await source.search(QUERY)
    assert len(web.calls) == 2
    await source.aclose()


@pytest.mark.parametrize(
    ("kind", "settings", "what"),
    [
        ("brav", "", "did you mean brave?"),
        ("searxng", "", "base_url: this key is needed"),
        ("brave", ", api_key: sk-inline", "never inline"),
        ("tavily", ", odd: 1", "odd: unknown key"),
    ],
)
def test_a_bad_source_is_refused_with_its_line(kind: str, settings: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(loads(CONFIG.format(kind=kind, settings=settings), "c.yaml"), SilentLog())
    assert "c.yaml:6: suggest.sources.web" in str(caught.value)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.org/a//b/?utm_source=x&b=2&a=1#top",
        "http://example.org/a/b?a=1&b=2&gclid=3",
        "https://EXAMPLE.org:443/a/b/?b=2&a=1",
        "https://m.example.org/a/b?a=1&b=2",
    ],
)
def test_one_page_has_one_canonical_name(url: str) -> None:
    assert canonical(url) == "example.org/a/b?a=1&b=2"
