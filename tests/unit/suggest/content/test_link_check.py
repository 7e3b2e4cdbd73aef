"""Checking whether links still exist."""

import httpx2
import respx

from hamlet.suggest.content.link_check import check_urls
from hamlet.testing import Canned, LoopbackUpstream


async def test_every_url_gets_a_status() -> None:
    async with LoopbackUpstream() as site:

        def respond(request) -> Canned:
            if request.path == "/gone":
                return Canned(404)
            if request.path == "/no-head":
                return Canned(405 if request.method == "HEAD" else 200)
            return Canned(before="reset") if request.path == "/reset" else Canned(200)

        site.respond(respond)
        urls = [f"{site.url}{path}" for path in ("/", "/gone", "/no-head", "/reset")]
        done: list[int] = []
        statuses = await check_urls(urls, 0.0, 5.0, lambda: done.append(1))
    assert list(statuses.values()) == [200, 404, 200, 0]
    assert list(statuses) == urls
    assert len(done) == 4
    methods = [(r.method, r.path) for r in site.requests]
    assert methods.count(("GET", "/")) == 0, "a server that supports HEAD gets no GET"
    assert ("GET", "/no-head") in methods


async def test_redirects_are_followed_and_failures_are_zero() -> None:
    # No loopback server can stand in for hosts with certificates, or for missing ones.
    with respx.mock(using="httpx") as web:
        web.head("http://old.example/a").respond(301, headers={"location": "https://new.example/a"})
        web.head("https://new.example/a").respond(200)
        web.head("https://old.example/b").respond(302, headers={"location": "/gone"})
        web.head("https://old.example/gone").respond(410)
        web.head("https://nobody.example/").mock(side_effect=httpx2.ConnectError("no such host"))
        web.head("https://loop.example/").respond(302, headers={"location": "/"})
        urls = ["http://old.example/a", "https://old.example/b", "https://nobody.example/"]
        statuses = await check_urls([*urls, "https://loop.example/"], 0.0, 5.0, lambda: None)
    assert list(statuses.values()) == [200, 410, 0, 0]
