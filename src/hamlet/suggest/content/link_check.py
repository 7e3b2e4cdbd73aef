"""Checks whether links still exist: few requests at once, and spaced out for each host."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx2

_MAX_CONCURRENT = 8
_HEAD_UNSUPPORTED = (403, 404, 405, 501)
_REQUEST_HEADERS = {"user-agent": "hamlet-catalogue-check"}


async def check_urls(
    urls: Sequence[str],
    host_interval_s: float,
    timeout_s: float,
    on_host_done: Callable[[], object],
) -> dict[str, int]:
    """The HTTP status of every URL after redirects; 0 where there is no response.

    `host_interval_s` is the pause between requests to one host, in seconds. `on_host_done` is
    called after each URL.
    """
    by_host: dict[str, list[str]] = defaultdict(list)
    for url in urls:
        by_host[urlsplit(url).netloc].append(url)
    slots = asyncio.Semaphore(_MAX_CONCURRENT)
    statuses: dict[str, int] = {}

    async def check_host(host_urls: list[str]) -> None:
        for i, url in enumerate(host_urls):
            if i:
                await asyncio.sleep(host_interval_s)
            async with slots:
                statuses[url] = await _fetch_status(http, url)
            on_host_done()

    async with httpx2.AsyncClient(
        timeout=timeout_s, follow_redirects=True, headers=_REQUEST_HEADERS
    ) as http:
        await asyncio.gather(*(check_host(host_urls) for host_urls in by_host.values()))
    return {url: statuses[url] for url in urls}


async def _fetch_status(http: httpx2.AsyncClient, url: str) -> int:
    """HEAD first, then GET for servers that do not support HEAD. The body is not read."""
    try:
        code = (await http.head(url)).status_code
        if code in _HEAD_UNSUPPORTED:
            async with http.stream("GET", url) as response:
                code = response.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return 0
    return code
