"""Asking links whether they are still there, politely: few at once, each host seldom."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx2

_AT_ONCE = 8
_NO_HEAD = (403, 404, 405, 501)
_AGENT = {"user-agent": "hamlet-catalogue-check"}


async def probe(
    urls: Sequence[str], per_host_s: float, timeout_s: float, done: Callable[[], object]
) -> dict[str, int]:
    """The HTTP status of every URL after redirects; 0 where there is no answer."""
    by_host: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        by_host[urlsplit(url).netloc].append(url)
    slots = asyncio.Semaphore(_AT_ONCE)
    statuses: dict[str, int] = {}

    async def host(mine: list[str]) -> None:
        for i, url in enumerate(mine):
            if i:
                await asyncio.sleep(per_host_s)
            async with slots:
                statuses[url] = await _status(http, url)
            done()

    async with httpx2.AsyncClient(timeout=timeout_s, follow_redirects=True, headers=_AGENT) as http:
        await asyncio.gather(*(host(mine) for mine in by_host.values()))
    return {url: statuses[url] for url in urls}


async def _status(http: httpx2.AsyncClient, url: str) -> int:
    """HEAD first; many servers know only GET, of which the body is not read."""
    try:
        code = (await http.head(url)).status_code
        if code in _NO_HEAD:
            async with http.stream("GET", url) as response:
                code = response.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return 0
    return code
