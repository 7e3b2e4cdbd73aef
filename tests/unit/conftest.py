"""A loopback upstream and a host for the adapters that call it."""

import pytest

from hamlet.testing import LoopbackUpstream
from hamlet.testing.support import host_runtime


@pytest.fixture
async def upstream():
    async with LoopbackUpstream() as upstream:
        yield upstream


@pytest.fixture(params=["httptools", "aiohttp"])
async def host(request):
    host = host_runtime(request.param)
    yield host
    await host.aclose()
