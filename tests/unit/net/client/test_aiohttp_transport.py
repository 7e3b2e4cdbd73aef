"""What only the reference transport does in its own way: names, and kept connections that ended."""

import errno

import aiohttp
import pytest

from hamlet.core import errors
from hamlet.net.client.aiohttp_transport import AiohttpTransport, _is_stale_connection, _Resolver
from hamlet.spi import ProviderSettings
from support.raw_upstream import OK, RawUpstream, ServerConnection


def one_response_per_connection(close_mode: str) -> RawUpstream:
    """A server that keeps connections open and ends each at the first byte of a second request."""

    async def serve(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(OK)
        await peer.reader.read(1)
        if close_mode == "reset":
            peer.reset()

    return RawUpstream(serve)


async def read_body(transport: AiohttpTransport) -> bytes:
    # aiohttp itself repeats what is idempotent; a model call is not.
    async with transport.stream("POST", "/", content=b"{}") as reply:
        return await reply.aread()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_stale_keep_alive_connection_is_retried_once(how: str) -> None:
    async with one_response_per_connection(how) as server:
        transport = AiohttpTransport(ProviderSettings(base_url=server.url))
        try:
            assert [await read_body(transport) for _ in range(3)] == [b"ok"] * 3
        finally:
            await transport.aclose()
    assert server.accepted == 3


async def test_upstream_host_name_is_resolved() -> None:
    async with one_response_per_connection("close") as server:
        url = server.url.replace("127.0.0.1", "localhost")
        transport = AiohttpTransport(ProviderSettings(base_url=url))
        try:
            assert await read_body(transport) == b"ok"
        finally:
            await transport.aclose()


async def test_resolver_is_closed() -> None:
    resolver = _Resolver(1.0)
    assert await resolver.resolve("localhost", 80)
    await resolver.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EMFILE, "too many open files"), errors.LocalLimit),
        (OSError(errno.ECONNRESET, "reset"), errors.UpstreamUnavailable),
    ],
)
async def test_local_limits_are_distinguished_from_upstream_faults(
    error, kind, monkeypatch
) -> None:
    transport = AiohttpTransport(ProviderSettings(base_url="http://127.0.0.1:9"))

    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fails)
    try:
        with pytest.raises(kind):
            await read_body(transport)
    finally:
        await transport.aclose()


@pytest.mark.parametrize(
    ("error", "unheard"),
    [
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), True),
        (aiohttp.ClientPayloadError("cut"), False),
    ],
)
def test_only_connection_lost_before_first_byte_is_retryable(error, unheard: bool) -> None:
    assert _is_stale_connection(error) is unheard
