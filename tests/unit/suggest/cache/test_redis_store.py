"""Cache entries that processes share in Redis."""

import pytest

from hamlet.suggest import Draft, RedisStore, SwrCache
from hamlet.suggest.cache import CachedFetch
from support.redis import redis_server
from support.server import wait_until


@pytest.fixture
async def redis_url(tmp_path):
    async with redis_server(tmp_path) as server:
        yield server.url


def make_cache(url: str) -> SwrCache[Draft]:
    return SwrCache(fresh_s=60, stale_s=600, store=RedisStore(url, "chips", Draft))


async def test_entries_are_shared_between_processes(redis_url: str) -> None:
    calls = 0

    async def fill(drafts: list[Draft]) -> None:
        nonlocal calls
        calls += 1
        drafts.append(Draft("막차", "막차 시간", "howto"))

    one, other = make_cache(redis_url), make_cache(redis_url)
    for each in (one, other):
        fetch = CachedFetch.start(each, "k", fill)
        await wait_until(lambda fetch=fetch: not fetch.entry.is_fetching)
        assert [d.text for d in fetch.items] == ["막차"]
    assert calls == 1
    assert CachedFetch.start(other, "k", fill).tier("llm") == "cache"
    await one.clear()
    third = make_cache(redis_url)
    fetch = CachedFetch.start(third, "k", fill)
    await wait_until(lambda: not fetch.entry.is_fetching)
    assert calls == 2
    for each in (one, other, third):
        await each.aclose()


async def test_unreachable_redis_behaves_as_empty() -> None:
    cache = make_cache("redis://127.0.0.1:1/0")

    async def fill(drafts: list[Draft]) -> None:
        drafts.append(Draft("막차", "막차 시간", "howto"))

    fetch = CachedFetch.start(cache, "k", fill)
    await wait_until(lambda: not fetch.entry.is_fetching)
    assert fetch.tier("llm") == "llm"
    assert fetch.items
    await cache.clear()
    await cache.aclose()
