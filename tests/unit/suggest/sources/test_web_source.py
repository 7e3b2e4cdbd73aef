"""Web sources against their vendors' documented responses, errors and limits."""

import asyncio
from contextlib import suppress
from urllib.parse import urlencode

import pytest

from hamlet.config import ConfigError, loads
from hamlet.registry import build_registry
from hamlet.registry.sources import build_sources
from hamlet.spi.sources import LinkQuery, SourceError
from hamlet.suggest.sources.web_source import site_kind
from hamlet.testing import Canned, LoopbackUpstream, json_reply
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
    "kagi": ", api_key: env:TEST_SOURCE_KEY",
    "searxng": "",
    "naver": ", client_id: id-1, client_secret: env:TEST_SOURCE_KEY",
}
SEARCH_URLS = {
    "brave": "https://api.search.brave.com/res/v1/web/search",
    "tavily": "https://api.tavily.com/search",
    "exa": "https://api.exa.ai/search",
    "kagi": "https://kagi.com/api/v1/search",
    "searxng": "/search",
    "naver": "https://openapi.naver.com/v1/search/webkr.json",
}
URL = "https://www.seoulmetro.co.kr/kr/page.do?utm_source=x"
RESPONSES = {
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
    "kagi": {
        "meta": {"trace": "0123", "node": "us-central1", "ms": 213},
        "data": {
            "search": [
                {
                    "url": URL,
                    "title": "서울 지하철",
                    "snippet": "막차 &amp; 첫차",
                    "time": "2026-11-01T00:00:00Z",
                }
            ],
            "related_search": [{"url": "/search?q=x", "title": "지하철 노선도"}],
        },
    },
    "searxng": {
        "results": [{"title": "서울 지하철", "url": URL, "content": "막차 & 첫차", "score": 14.2}]
    },
    "naver": {
        "items": [{"title": "서울 <b>지하철</b>", "link": URL, "description": "막차 &amp; 첫차"}]
    },
}
KEY_HEADERS = {
    "brave": "x-subscription-token",
    "tavily": "authorization",
    "exa": "x-api-key",
    "kagi": "authorization",
    "naver": "x-naver-client-secret",
}
QUERY = LinkQuery("서울 지하철 막차", "ko", 5)


@pytest.fixture(params=SETTINGS)
async def kind(request):
    return request.param


@pytest.fixture
async def web():
    async with LoopbackUpstream() as upstream:
        yield upstream


def make_source(kind: str, more: str):
    config = CONFIG.format(kind=kind, settings=SETTINGS[kind] + more)
    (source,) = build_sources(loads(config)).values()
    return source


@pytest.fixture
async def source(kind: str, web, monkeypatch):
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    source = make_source(kind, f", base_url: '{web.url}', timeout_s: 30")
    yield source
    await source.aclose()


async def test_parses_documented_response(web, source, kind: str) -> None:
    web.reply(json_reply(RESPONSES[kind]))
    (link,) = await source.search(QUERY)
    assert (link.url, link.title, link.snippet) == (URL, "서울 지하철", "막차 & 첫차")
    assert (link.language, link.source) == ("ko", kind)
    assert 0 < link.score <= 1
    (request,) = web.requests
    if kind in KEY_HEADERS:
        assert "secret-0123456789" in request.headers[KEY_HEADERS[kind]]
    assert "secret" not in request.path + str(request.query)


async def test_sends_query_verbatim_to_documented_url(web, source, kind: str) -> None:
    web.reply(json_reply(RESPONSES[kind]))
    query = "50% off + 서울&q=x #1"
    await source.search(LinkQuery(query, "ko", 5))
    (request,) = web.requests
    sent = request.query if request.method == "GET" else request.json
    assert query in sent.values()
    default_url = type(source).Settings.model_fields["base_url"].default
    assert SEARCH_URLS[kind] == ("" if kind == "searxng" else default_url) + request.path


EXPECTED_FILTERS = {
    "brave": ["freshness=pw", "safesearch=strict", "country=US"],
    "tavily": ['"time_range":"week"'],
    "exa": ['"startPublishedDate":"'],
    "kagi": ['"after":"', '"safe_search":true', '"region":"US"'],
    "searxng": ["time_range=week", "safesearch=2"],
    "naver": [],
}


async def test_passes_on_freshness_safe_search_and_country(web, source, kind: str) -> None:
    web.reply(json_reply(RESPONSES[kind]))
    query = LinkQuery("subway", "ko", 5, country="US", freshness="week", safe="strict")
    assert await source.search(query)
    (request,) = web.requests
    sent = f"{urlencode(request.query)} {request.body.decode()}"
    assert all(part in sent for part in EXPECTED_FILTERS[kind]), sent


PUBLISHED = {"brave": "2026-11-01T00:00:00", "kagi": "2026-11-01T00:00:00Z"}


async def test_publication_date_is_the_vendors(web, source, kind: str) -> None:
    web.reply(json_reply(RESPONSES[kind]))
    (link,) = await source.search(QUERY)
    assert link.published_at == PUBLISHED.get(kind)


async def test_searches_reuse_connection(web, source, kind: str) -> None:
    web.reply(json_reply(RESPONSES[kind]))
    for _ in range(3):
        await source.search(QUERY)
    assert (len(web.requests), web.accepted) == (3, 1)


async def test_retry_after_is_reported(web, source, kind: str) -> None:
    web.reply(json_reply({}, 429, {"retry-after": "17"}))
    with pytest.raises(SourceError) as caught:
        await source.search(QUERY)
    assert caught.value.retry_after_s == 17.0


async def test_empty_query_sends_no_request(web, source) -> None:
    assert await source.search(LinkQuery("", "ko", 5)) == []
    assert not web.requests


@pytest.mark.parametrize("status", [302, 401, 403, 422, 429, 500])
async def test_error_status_raises_source_error(web, source, kind: str, status: int) -> None:
    web.reply(json_reply({"message": "secret-0123456789"}, status))
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
async def test_malformed_response_raises_source_error_or_finds_nothing(
    web, source, kind: str, content: bytes
) -> None:
    web.reply(json_reply(content))
    found = []
    with suppress(SourceError):
        found = await source.search(QUERY)
    assert found == []


@pytest.mark.parametrize(
    "fault",
    [
        Canned(before="reset"),
        Canned(200, {}, [b'{"results"'], end="truncate"),
        Canned(200, {}, [b"nonsense\r\n\r\n"], raw=True),
    ],
)
async def test_broken_connection_raises_source_error(web, source, kind: str, fault) -> None:
    web.reply(fault)
    with pytest.raises(SourceError, match=f"{kind}: upstream_"):
        await source.search(QUERY)


async def test_endless_response_times_out(web, kind, monkeypatch) -> None:
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    source = make_source(kind, f", base_url: '{web.url}', timeout_s: 0.2")
    web.reply(Canned(200, {}, [b"{", b"}"], gate=asyncio.Event()))
    with pytest.raises(SourceError, match=r"did not answer within 0\.2 s"):
        await source.search(QUERY)
    await web.hung_up()
    await source.aclose()


async def test_daily_quota_is_enforced_and_reported(web, monkeypatch) -> None:
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    source = make_source("naver", f", base_url: '{web.url}', daily_quota: 2")
    web.reply(json_reply(RESPONSES["naver"]))
    for left in (1, 0):
        await source.search(QUERY)
        assert source.quota_left == left
    with pytest.raises(SourceError, match="quota"):
        await source.search(QUERY)
    assert len(web.requests) == 2
    await source.aclose()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://www.seoul.go.kr/x", "official"),
        ("https://www.usa.gov/", "official"),
        ("https://www.gov.uk/", "official"),
        ("https://www.pref.lg.jp/", "official"),
        ("https://ko.wikipedia.org/wiki/x", "encyclopedia"),
        ("https://docs.python.org/3/", "doc"),
        ("https://www.youtube.com/watch?v=1", "video"),
        ("https://evilgov.example/", "other"),
        ("https://notwikipedia.org/", "other"),
        ("https://[bad", "other"),
    ],
)
def test_site_kind_is_judged_by_host(url: str, kind: str) -> None:
    assert site_kind(url) == kind


@pytest.mark.parametrize(
    ("kind", "settings", "what"),
    [
        ("brav", "", "did you mean brave?"),
        ("searxng", "", "base_url: this key is needed"),
        ("brave", ", api_key: sk-inline", "never inline"),
        ("tavily", ", odd: 1", "odd: unknown key"),
    ],
)
def test_invalid_source_configuration_is_reported_with_its_line(
    kind: str, settings: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_registry(loads(CONFIG.format(kind=kind, settings=settings), "c.yaml"), SilentLog())
    assert "c.yaml:6: suggest.sources.web" in str(caught.value)
    assert what in str(caught.value)
