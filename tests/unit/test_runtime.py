"""The transport that the host gives to adapters."""

import asyncio
import time

import pytest

from hamlet.core import errors
from hamlet.runtime import HostRuntime
from hamlet.spi import (
    ProviderSettings,
)
from hamlet.testing import Canned, json_reply
from hamlet.testing.support import SilentLog


def test_clock_and_log_of_the_host() -> None:
    log = SilentLog()
    host = HostRuntime(log)
    assert time.monotonic() <= host.now() <= time.monotonic()
    assert host.log is log


async def test_absolute_url_is_used_and_redirects_are_not_followed(upstream, host) -> None:
    upstream.reply(Canned(302, {"location": "http://127.0.0.1:9/"}))
    http = host.http(ProviderSettings(base_url="http://127.0.0.1:9"))
    async with http.stream("GET", upstream.url + "/there") as reply:
        assert reply.status == 302
    assert upstream.requests[0].path == "/there"


async def test_body_over_the_limit_is_rejected(upstream, host) -> None:
    upstream.reply(json_reply(b"x" * 100))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamProtocol, match="over 10 bytes"):
            await reply.aread(10)


async def test_compressed_response_is_rejected(upstream, host) -> None:
    upstream.reply(json_reply(b"x", headers={"content-encoding": "gzip"}))
    http = host.http(ProviderSettings(base_url=upstream.url))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamProtocol, match="compressed"):
            await reply.aread()


async def test_idle_timeout_before_and_within_a_response(upstream, host) -> None:
    http = host.http(ProviderSettings(base_url=upstream.url, idle_timeout_s=0.05))
    upstream.reply(Canned(before="hang"))
    with pytest.raises(errors.UpstreamTimeout) as caught:
        async with http.stream("GET", "/"):
            pass
    assert caught.value.phase == "open"
    upstream.reply(Canned(pieces=[b"a"], end="hang"))
    async with http.stream("GET", "/") as reply:
        with pytest.raises(errors.UpstreamTimeout) as caught:
            await reply.aread()
    assert caught.value.phase == "stream"


async def test_connect_timeout_has_sent_nothing(host) -> None:
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        http = host.http(
            ProviderSettings(base_url=f"http://127.0.0.1:{port}", connect_timeout_s=0.1)
        )
        with pytest.raises(errors.UpstreamTimeout) as caught:
            async with http.stream("GET", "/"):
                pass
        assert caught.value.phase == "connect"
        for filler in fillers:
            filler.close()


async def test_response_that_is_not_http_is_a_protocol_error(host) -> None:
    async def babble(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = host.http(ProviderSettings(base_url=f"http://127.0.0.1:{port}"))
    with pytest.raises(errors.UpstreamProtocol):
        async with http.stream("GET", "/"):
            pass
    server.close()
    await server.wait_closed()


async def test_invalid_url_is_a_provider_error(host) -> None:
    http = host.http(ProviderSettings(base_url="no-scheme"))
    with pytest.raises(errors.ProviderError):
        async with http.stream("GET", "/"):
            pass
