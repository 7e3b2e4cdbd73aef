"""Checks the Redis servers of a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr

from hamlet.config import GatewayConfig
from hamlet.doctor.connectivity import Diagnosis, host_and_port
from hamlet.doctor.finding import Finding

_TIMEOUT_S = 3.0


async def examine_redis(config: GatewayConfig) -> list[Finding]:
    """Check that each server can be reached and written to."""
    return [
        await _examine_server(path, url.get_secret_value())
        for path, url in _configured_urls(config)
    ]


def _configured_urls(config: GatewayConfig) -> Iterator[tuple[str, SecretStr]]:
    cutover = config.cutover.redis if config.cutover else None
    for path, url in (
        ("fleet.redis", config.fleet.redis),
        ("suggest.redis", config.suggest.redis),
        ("cutover.redis", cutover),
    ):
        if url is not None:
            yield path, url


async def _examine_server(path: str, url: str) -> Finding:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    where = host_and_port(url)
    client: Any = Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await client.set("hamlet:doctor", "1", px=1000)
            version = (await client.info("server"))["redis_version"]
    except (RedisError, OSError) as error:
        message, advice = _explain_failure(error, where, path)
        return Finding("redis", path, "failed", message, advice)
    finally:
        await client.aclose()
    return Finding("redis", path, "ok", f"Redis {version} at {where}")


def _explain_failure(error: Exception, where: str, path: str) -> Diagnosis:
    from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError
    from redis.exceptions import TimeoutError as RedisTimeout

    # redis-py wraps the server's error in a ConnectionError.
    if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
        return f"{where} refuses the password", f"correct the URL that {path} refers to"
    if isinstance(error, NoPermissionError):
        return f"{where} does not let this user write", "give its ACL the keys hamlet:*"
    if isinstance(error, ReadOnlyError):
        return f"{where} is a replica", "name the primary"
    if isinstance(error, RedisTimeout | TimeoutError):
        return f"{where} does not answer", "check the network, and whether Redis hangs"
    return f"{where} cannot be used: {type(error).__name__}", "start it, or correct the URL"
