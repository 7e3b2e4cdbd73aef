"""Waiting for a condition or for an HTTP server, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import aiohttp


async def wait_until(
    predicate: Callable[[], object | Awaitable[object]],
    within_s: float = 60.0,
    interval_s: float = 0.005,
) -> float:
    """Poll a condition, plain or a coroutine function, until it is true.

    Returns the seconds it took. Raises TimeoutError after `within_s` seconds.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.timeout(within_s):
        while True:
            result = predicate()
            if await result if inspect.isawaitable(result) else result:
                return loop.time() - begin
            await asyncio.sleep(interval_s)


async def wait_until_ok(url: str, within_s: float = 30.0) -> float:
    """Poll a URL until it answers 200; the seconds it took. Raises TimeoutError."""
    async with aiohttp.ClientSession() as http:

        async def is_ok() -> bool:
            try:
                async with http.get(url) as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        return await wait_until(is_ok, within_s, interval_s=0.02)
