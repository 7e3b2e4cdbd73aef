"""Both kinds of rollout state store."""

from contextlib import AsyncExitStack

import pytest

from hamlet.migration.file_store import FileStore
from hamlet.migration.redis_store import RedisStateStore
from hamlet.migration.rollout_document import RolloutDocument
from support.redis import redis_server


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.external("redis-server"))])
async def store(request, tmp_path):
    """A store with an empty document."""
    async with AsyncExitStack() as stack:
        if request.param == "file":
            store = FileStore(tmp_path / "state.json")
        else:
            redis = await stack.enter_async_context(redis_server(tmp_path))
            store = RedisStateStore(redis.url)
            stack.callback(store._client.close)
        store.create(RolloutDocument())
        yield store
