"""Asking links whether they are still there."""

from hamlet.content.probe import probe
from hamlet.testing import Canned, LoopbackUpstream


async def test_every_link_gets_its_status_and_each_host_time() -> None:
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
        statuses = await probe(urls, 0.0, 5.0, lambda: done.append(1))
    assert list(statuses.values()) == [200, 404, 200, 0]
    assert list(statuses) == urls
    assert len(done) == 4
    methods = [(r.method, r.path) for r in site.requests]
    assert methods.count(("GET", "/")) == 0, "where HEAD will do, no body is asked for"
    assert ("GET", "/no-head") in methods
