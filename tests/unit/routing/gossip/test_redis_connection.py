"""A connection to Redis before it is opened; behaviour/routing has the rest."""

import pytest

from hamlet.routing.gossip.redis_connection import RedisConnection


async def test_unconnected_redis_connection_raises() -> None:
    connection = RedisConnection("redis://127.0.0.1:1/0", 0.05)
    with pytest.raises(ConnectionError):
        await connection.execute(("PING",))
    await connection.aclose()
