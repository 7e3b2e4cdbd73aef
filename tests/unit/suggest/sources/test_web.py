"""Web sources against their vendors' documented answers, errors and limits."""

import asyncio
from contextlib import suppress
from urllib.parse import urlencode

import pytest

from hamlet.config import ConfigError, loads
from hamlet.registry import build_registry
from hamlet.registry.sources import build_sources
from hamlet.spi.sources import LinkQuery, SourceError
from hamlet.suggest.links.selection import canonicalize_url
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
    "searxng": "",
    "naver": ", client_id: id-1, client_secret: env:TEST_SOURCE_KEY",
}
ADDRESS = {
    "brave": "https://api.search.brave.com/res/v1/web/search",
    "tavily": "https://api.tavily.com/search",
    "exa": "https://api.exa.ai/search",
    "searxng": "/search",
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


async def test_reads_the_documented_answer(web, source, kind: str) -> None:
    web.reply(json_reply(ANSWERS[kind]))
    (link,) = await source.search(QUERY)
    assert (link.url, link.title, link.snippet) == (URL, "서울 지하철", "막차 & 첫차")
    assert (link.language, link.source) == ("ko", kind)
    assert 0 < link.score <= 1
    (request,) = web.requests
    if kind in KEY_HEADER:
        assert "secret-0123456789" in request.headers[KEY_HEADER[kind]]
    assert "secret" not in request.path + str(request.query)


async def test_asks_for_the_very_words_at_the_documented_address(web, source, kind: str) -> None:
    web.reply(json_reply(ANSWERS[kind]))
    words = "50% off + 서울&q=x #1"
    await source.search(LinkQuery(words, "ko", 5))
    (request,) = web.requests
    said = request.query if request.method == "GET" else request.json
    assert words in said.values()
    own = type(source).Settings.model_fields["base_url"].default
    assert ADDRESS[kind] == ("" if kind == "searxng" else own) + request.path


NEWEST = {
    "brave": ["freshness=pw", "safesearch=strict", "country=US"],
    "tavily": ['"time_range":"week"'],
    "exa": ['"startPublishedDate":"'],
    "searxng": ["time_range=week", "safesearch=2"],
    "naver": [],
}


async def test_passes_on_how_new_how_safe_and_from_where(web, source, kind: str) -> None:
    web.reply(json_reply(ANSWERS[kind]))
    query = LinkQuery("subway", "ko", 5, country="US", freshness="week", safe="strict")
    assert await source.search(query)
    (request,) = web.requests
    said = f"{urlencode(request.query)} {request.body.decode()}"
    assert all(part in said for part in NEWEST[kind]), said


async def test_one_connection_serves_one_search_after_another(web, source, kind: str) -> None:
    web.reply(json_reply(ANSWERS[kind]))
    for _ in range(3):
        await source.search(QUERY)
    assert (len(web.requests), web.accepted) == (3, 1)


async def test_retry_after_is_reported(web, source, kind: str) -> None:
    web.reply(json_reply({}, 429, {"retry-after": "17"}))
    with pytest.raises(SourceError) as caught:
        await source.search(QUERY)
    assert caught.value.retry_after_s == 17.0


async def test_asks_nothing_for_an_empty_query(web, source) -> None:
    assert await source.search(LinkQuery("", "ko", 5)) == []
    assert not web.requests


@pytest.mark.parametrize("status", [302, 401, 403, 422, 429, 500])
async def test_an_error_status_is_a_source_error(web, source, kind: str, status: int) -> None:
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
async def test_an_odd_answer_is_a_source_error_or_nothing(
    web, source, kind: str, content: bytes
) -> None:
    web.reply(json_reply(content))
    found = []
    with suppress(SourceError):
        found = await source.search(QUERY)
    assert found == []


@pytest.mark.parametrize(
    "trouble",
    [
        Canned(before="reset"),
        Canned(200, {}, [b'{"results"'], end="truncate"),
        Canned(200, {}, [b"nonsense\r\n\r\n"], raw=True),
    ],
)
async def test_a_broken_connection_is_a_source_error(web, source, kind: str, trouble) -> None:
    web.reply(trouble)
    with pytest.raises(SourceError, match=f"{kind}: upstream_"):
        await source.search(QUERY)


async def test_an_answer_that_never_ends_is_given_up_after_its_time(web, kind, monkeypatch) -> None:
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    source = make_source(kind, f", base_url: '{web.url}', timeout_s: 0.2")
    web.reply(Canned(200, {}, [b"{", b"}"], gate=asyncio.Event()))
    with pytest.raises(SourceError, match=r"did not answer within 0\.2 s"):
        await source.search(QUERY)
    await web.hung_up()
    await source.aclose()


async def test_a_days_quota_is_respected_and_shown(web, monkeypatch) -> None:
    monkeypatch.setenv("TEST_SOURCE_KEY", "secret-0123456789")
    source = make_source("naver", f", base_url: '{web.url}', daily_quota: 2")
    web.reply(json_reply(ANSWERS["naver"]))
    for left in (1, 0):
        await source.search(QUERY)
        assert source.quota_left == left
    with pytest.raises(SourceError, match="quota"):
        await source.search(QUERY)
    assert len(web.requests) == 2
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
        build_registry(loads(CONFIG.format(kind=kind, settings=settings), "c.yaml"), SilentLog())
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
def test_url_canonicalization(url: str) -> None:
    assert canonicalize_url(url) == "example.org/a/b?a=1&b=2"
