"""What our own transport guarantees beyond what both transports do."""

import asyncio
import errno
import shutil
import socket

import pytest
import uvloop

from hamlet.core import errors
from hamlet.net.client import connection, pool
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.spi import ProviderSettings
from hamlet.testing.support import host_runtime
from loadtest.engine.waiting import wait_until
from support.raw_upstream import (
    OK,
    RawUpstream,
    ServerConnection,
    make_certificate,
    respond_ok_forever,
    server_tls_context,
)


def make_transport(url: str, **settings) -> HttptoolsTransport:
    return HttptoolsTransport(ProviderSettings(base_url=url, **settings))


async def fetch_body(http: HttptoolsTransport, path: str = "/", **request) -> bytes:
    async with http.stream("POST", path, content=b"{}", **request) as reply:
        return await reply.aread()


async def fetch_outcome(http: HttptoolsTransport) -> tuple[type | None, bytes]:
    """The error a call ends with, if any, and the part of the body before it."""
    got = b""
    try:
        async with http.stream("POST", "/", content=b"{}") as reply:
            async for data in reply.chunks():
                got += data
    except errors.ProviderError as error:
        return type(error), got
    return None, got


# -- the pool


async def test_connections_do_not_exceed_concurrent_callers() -> None:
    async def caller(http: HttptoolsTransport, calls: int) -> None:
        for i in range(calls):
            assert await fetch_body(http) == b"ok", i

    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url)
        callers = [caller(http, 10_000 // 32 + 1) for _ in range(32)]
        await asyncio.gather(*callers)
        await http.aclose()
    assert upstream.accepted <= 40


async def test_late_stream_end_keeps_connection(monkeypatch) -> None:
    # A busy machine may take longer than the quarter of a second that is the default.
    monkeypatch.setattr(connection, "_LINGER_S", 30.0)

    async def script(peer: ServerConnection, _: int) -> None:
        while True:
            await peer.read_request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nDONE\r\n")
            await asyncio.sleep(0.005)
            await peer.send(b"1\r\n", b"x\r\n", b"0\r\n\r\n")

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        for _ in range(5):
            async with http.stream("POST", "/", content=b"{}") as reply:
                async for data in reply.chunks():
                    assert data == b"DONE"
                    break
            await wait_until(lambda: bool(http._resolve_url("").pool._idle_connections))
        await http.aclose()
    assert upstream.accepted == 1


@pytest.mark.parametrize("size", [6_000, 30_000])
async def test_unread_response_is_drained_for_reuse(size: int, monkeypatch) -> None:
    monkeypatch.setattr(connection, "_LINGER_S", 30.0)

    async def script(peer: ServerConnection, _: int) -> None:
        while request := await peer.read_request():
            body = b"x" * size if b" /long " in request else b"ok"
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        async with http.stream("GET", "/long") as reply:
            # By then all of the shorter one has arrived, and only a part of the longer.
            await wait_until(lambda: reply.connection._paused)
            assert reply.connection.response.complete is (size == 6_000)
        await wait_until(lambda: bool(http._resolve_url("").pool._idle_connections))
        assert [await fetch_body(http) for _ in range(2)] == [b"ok", b"ok"]
        assert upstream.accepted == 1
        await http.aclose()


async def test_abandoned_endless_response_is_closed_soon() -> None:
    left = asyncio.Event()

    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await peer.reader.read()
        left.set()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        async with http.stream("GET", "/"):
            pass
        async with asyncio.timeout(60):
            await left.wait()
    assert upstream.accepted == 1


async def test_abandoned_long_response_is_not_read_to_its_end(monkeypatch) -> None:
    # No timeout ends it here, only the number of bytes.
    monkeypatch.setattr(connection, "_LINGER_S", 3600)

    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n", b"x" * 200_000)
        await peer.reader.read()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        async with http.stream("GET", "/"):
            pass
        await wait_until(lambda: not upstream._tasks)
        await wait_until(lambda: not http.pool_stats().busy)
        assert http.pool_stats().idle == 0
    assert upstream.accepted == 1


async def test_pool_is_last_in_first_out() -> None:
    async def script(peer: ServerConnection, n: int) -> None:
        while True:
            await peer.read_request()
            await asyncio.sleep(0.01)
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % n)

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url, keepalive_s=0.1)
        await asyncio.gather(*(fetch_body(http) for _ in range(3)))
        served = {await fetch_body(http) for _ in range(12)}
        assert len(served) == 1
        await wait_until(lambda: len(upstream._tasks) == 1)
        await wait_until(lambda: not upstream._tasks)
        assert upstream.accepted == 3
        await http.aclose()


async def test_connection_limit_queues_requests() -> None:
    async def slow(peer: ServerConnection, _: int) -> None:
        while True:
            await peer.read_request()
            await asyncio.sleep(0.01)
            await peer.send(OK)

    async with RawUpstream(slow) as upstream:
        http = make_transport(upstream.url, max_connections=2)
        calls = [asyncio.create_task(fetch_body(http)) for _ in range(10)]
        await asyncio.sleep(0.005)
        calls[4].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [d for d in done if d != b"ok"] == [done[4]]
        assert upstream.accepted == 2
        await http.aclose()


async def test_slot_of_cancelled_waiter_goes_to_next() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url, max_connections=1)
        connections = http._resolve_url("").pool
        first = await connections.acquire()
        waiting = [asyncio.create_task(connections.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        connections._on_idle(first)
        waiting[0].cancel()
        assert await waiting[1] is first
        # The same if the waiter was permitted to open a connection.
        waiting = [asyncio.create_task(connections.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        connections._on_lost(first)
        waiting[0].cancel()
        second = await waiting[1]
        assert second.is_usable
        await http.aclose()
        await wait_until(lambda: second.is_lost)
        first.abort()
        await wait_until(lambda: first.is_lost)


async def test_a_fresh_connection_is_none_that_was_used() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url, max_connections=1)
        assert await fetch_body(http) == b"ok"
        connections = http._resolve_url("").pool
        used = await connections.acquire()
        waiting = asyncio.create_task(connections.acquire(fresh=True))
        await asyncio.sleep(0)
        connections._on_idle(used)
        fresh = await waiting
        assert fresh is not used
        assert used.is_lost
        fresh.abort()
        await wait_until(lambda: fresh.is_lost)
        await http.aclose()


async def test_handshakes_are_limited_and_share_their_failure(monkeypatch) -> None:
    monkeypatch.setattr(pool, "MAX_HANDSHAKES", 2)
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url)
        connections, most = http._resolve_url("").pool, 0
        dial = connections._dial

        async def watched():
            nonlocal most
            most = max(most, connections._connecting)
            await asyncio.sleep(0.002)
            return await dial()

        connections._dial = watched
        assert await asyncio.gather(*(fetch_body(http) for _ in range(9))) == [b"ok"] * 9
        assert most == 2
        await http.aclose()
    http = make_transport(upstream.url)
    calls = [asyncio.create_task(fetch_body(http)) for _ in range(10)]
    await asyncio.sleep(0)
    calls.pop().cancel()
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert {(type(e), e.phase) for e in failed} == {(errors.UpstreamUnavailable, "connect")}


async def test_prewarm_opens_connections_before_first_call() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url, prewarm=3)
        await http.warm()
        assert upstream.accepted == 3
        assert await fetch_body(http) == b"ok"
        assert upstream.accepted == 3
        await http.aclose()
    await http.warm()
    await make_transport(upstream.url).warm()


async def test_host_preconnects_transports() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        host = host_runtime("httptools")
        for kind in ("httptools", "aiohttp"):
            host.http(ProviderSettings(base_url=upstream.url, prewarm=2, transport=kind))
        await host.warm()
        assert upstream.accepted == 2
        await host.aclose()


async def test_waiters_do_not_share_failures_while_connections_serve() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url, max_connections=2)
        connections = http._resolve_url("").pool
        first, dial = await connections.acquire(), connections._dial

        async def refused():
            await asyncio.sleep(0.01)
            raise errors.UpstreamUnavailable("refused", phase="connect")

        connections._dial = refused
        calls = [asyncio.create_task(connections.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        calls[2].cancel()
        with pytest.raises(errors.UpstreamUnavailable):
            await calls[0]
        connections._dial = dial
        assert (await asyncio.gather(calls[1], return_exceptions=True))[0] is not first
        await http.aclose()


async def test_connection_lost_during_connect_is_not_pooled() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url)
        connections = http._resolve_url("").pool
        dial = connections._dial

        async def lost():
            made = await dial()
            made.abort()
            await wait_until(lambda: made.is_lost)
            return made

        connections._dial = lost
        assert (await fetch_outcome(http))[0] is errors.UpstreamUnavailable
        assert not connections._connections


async def test_close_ends_exchanges_in_flight() -> None:
    async def silent(peer: ServerConnection, _: int) -> None:
        await peer.reader.read()

    async with RawUpstream(silent) as upstream:
        http = make_transport(upstream.url)
        call = asyncio.create_task(fetch_outcome(http))
        await wait_until(lambda: upstream.accepted == 1)
        await http.aclose()
        assert await call == (errors.UpstreamUnavailable, b"")
        # A connection that is established while the pool closes is closed too.
        assert (await fetch_outcome(http))[0] is errors.UpstreamUnavailable


# -- stale connections


async def test_stale_connection_costs_no_attempt() -> None:
    async def once_each(peer: ServerConnection, n: int) -> None:
        await peer.read_request()
        await peer.send(OK)
        if n % 2:
            # Closes just as the next request arrives.
            await peer.read_request()
            peer.reset()
        else:
            await respond_ok_forever(peer, n)

    async with RawUpstream(once_each) as upstream:
        http = make_transport(upstream.url)
        assert await fetch_body(http) == b"ok"
        assert await fetch_body(http) == b"ok"
        assert upstream.accepted == 2
        await http.aclose()


async def test_stale_connection_is_retried_once_and_only_before_first_byte() -> None:
    async def script(peer: ServerConnection, n: int) -> None:
        if n == 1:
            await peer.read_request()
            await peer.send(OK)
        await peer.read_request()
        peer.reset()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        assert await fetch_body(http) == b"ok"
        assert await fetch_outcome(http) == (errors.UpstreamUnavailable, b"")
        assert upstream.accepted == 2

    async def half(peer: ServerConnection, n: int) -> None:
        await peer.read_request()
        await peer.send(OK)
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200")
        peer.reset()

    async with RawUpstream(half) as upstream:
        http = make_transport(upstream.url)
        assert await fetch_body(http) == b"ok"
        assert await fetch_outcome(http) == (errors.UpstreamUnavailable, b"")
        assert upstream.accepted == 1


async def test_connection_closed_while_idle_is_not_used() -> None:
    async def once(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(OK)

    async with RawUpstream(once) as upstream:
        http = make_transport(upstream.url)
        for n in range(1, 4):
            assert await fetch_body(http) == b"ok"
            await wait_until(lambda: not upstream._tasks)
            assert upstream.accepted == n


async def test_closing_connection_is_skipped() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url)
        for n in (1, 2):
            assert await fetch_body(http) == b"ok"
            assert upstream.accepted == n
            http._resolve_url("").pool._idle_connections[-1].abort()


async def test_connection_lost_after_acquire_is_stale() -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        http = make_transport(upstream.url)
        assert await fetch_body(http) == b"ok"
        idle = http._resolve_url("").pool._idle_connections[-1]
        idle.connection_lost(None)
        with pytest.raises(errors.UpstreamUnavailable):
            await idle.send_request(b"", b"")
        assert idle.was_stale


# -- framing


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No\r\n\r\n", b""),
        (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nt: 1\r\n\r\n", b"a"),
    ],
)  # fmt: skip
async def test_valid_responses_are_read(raw: bytes, body: bytes) -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(raw)

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        for n in (1, 2):
            assert await fetch_outcome(http) == (None, body)
            await wait_until(lambda: not upstream._tasks)
            assert upstream.accepted == n


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname : 1\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 700_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 40_000 + b"\r\n",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + b"\x00rubbish",
    ],
)  # fmt: skip
async def test_invalid_responses_are_rejected(raw: bytes) -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(raw)
        await peer.reader.read()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        assert (await fetch_outcome(http))[0] is errors.UpstreamProtocol
        await wait_until(lambda: not upstream._tasks)


async def test_body_before_an_error_is_delivered() -> None:
    async def script(peer: ServerConnection, n: int) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        if n == 1:
            peer.reset()
        elif n == 2:
            await peer.send(b"zz\r\n")

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        assert await fetch_outcome(http) == (errors.UpstreamUnavailable, b"abc")
        assert await fetch_outcome(http) == (errors.UpstreamProtocol, b"abc")
        assert await fetch_outcome(http) == (errors.UpstreamUnavailable, b"abc")


async def test_response_to_head_has_no_body() -> None:
    async def script(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall wrong")
        await peer.reader.read()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        async with http.stream("HEAD", "/") as reply:
            assert await reply.aread() == b""
        assert reply.headers == reply.headers == {"content-length": "9"}
        with pytest.raises(RuntimeError):
            await reply.aread()


async def test_unsolicited_bytes_close_connection() -> None:
    async def script(peer: ServerConnection, n: int) -> None:
        await peer.read_request()
        await peer.send(OK)
        await asyncio.sleep(0.01)
        await peer.send(b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.reader.read()

    async with RawUpstream(script) as upstream:
        http = make_transport(upstream.url)
        for n in (1, 2):
            assert await fetch_body(http) == b"ok"
            assert upstream.accepted == n
            await wait_until(lambda: not upstream._tasks)


async def test_response_to_incomplete_request_closes_connection() -> None:
    async def hasty(peer: ServerConnection, _: int) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n")
        await peer.reader.read()

    async with RawUpstream(hasty) as upstream:
        http = make_transport(upstream.url)
        async with http.stream("POST", "/", content=b"x" * 20_000_000) as reply:
            assert reply.status == 413
        await wait_until(lambda: not upstream._tasks)


# -- flow control and timeouts


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_slow_caller_applies_backpressure_to_upstream(loop) -> None:
    total = 40 << 20

    async def check() -> None:
        sent = 0

        async def flood(peer: ServerConnection, _: int) -> None:
            nonlocal sent
            await peer.read_request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while sent < total:
                await peer.send(b"x" * (64 << 10))
                sent += 64 << 10
            await peer.read_request()

        async with RawUpstream(flood) as upstream:
            http = make_transport(upstream.url, idle_timeout_s=0.1)
            async with http.stream("POST", "/", content=b"{}") as reply:
                # Longer than the idle timeout: a slow reader is not a silent upstream.
                await asyncio.sleep(0.25)
                assert sent < total / 2
                assert (
                    http._resolve_url("").pool._connections.copy().pop().response.buffered_bytes
                    < 1 << 20
                )
                assert len(await reply.aread()) == total
            await http.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(check())


async def test_end_in_a_read_of_its_own_ends_the_body() -> None:
    go = asyncio.Event()

    async def late(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await peer.send(head + b"2\r\nok\r\n")
        await go.wait()
        await peer.send(b"0\r\n\r\n")

    async with (
        RawUpstream(late) as upstream,
        make_transport(upstream.url).stream("GET", "/") as reply,
    ):
        reading = asyncio.create_task(reply.aread())
        while reply.connection.response.body_parts:
            await asyncio.sleep(0)
        go.set()
        assert await reading == b"ok"


async def test_slow_headers_do_not_trigger_idle_timeout() -> None:
    async def drip(peer: ServerConnection, _: int) -> None:
        await peer.read_request()
        for i in range(0, len(OK), 2):
            await peer.send(OK[i : i + 2])
            await asyncio.sleep(0.06)

    # In total longer than the idle timeout, while each pause is shorter even on a busy machine.
    async with RawUpstream(drip) as upstream:
        assert await fetch_body(make_transport(upstream.url, idle_timeout_s=1.0)) == b"ok"


async def test_unresponsive_address_falls_back_to_next(monkeypatch) -> None:
    async with RawUpstream(respond_ok_forever) as upstream:
        port = int(upstream.url.rpartition(":")[2])

        def two(*_, **__):
            return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(socket, "getaddrinfo", two)
        http = make_transport(f"http://two.test:{port}")
        assert await fetch_body(http) == b"ok"
        await http.aclose()


async def test_url_without_reachable_upstream_sends_nothing() -> None:
    with pytest.raises(errors.UpstreamUnavailable) as caught:
        await fetch_body(make_transport("http://169.254.169.254"))
    assert caught.value.phase == "connect"


async def test_a_limit_of_our_own_is_no_fault_of_the_upstream(monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socket", full)
    with pytest.raises(errors.LocalLimit):
        await fetch_body(make_transport("http://127.0.0.1:9"))


# -- requests


async def test_request_on_the_wire() -> None:
    seen: list[bytes] = []

    async def script(peer: ServerConnection, _: int) -> None:
        while True:
            seen.append(await peer.read_request())
            await peer.send(OK)

    async with RawUpstream(script) as upstream:
        address = upstream.url.removeprefix("http://")
        settings = ProviderSettings(
            base_url=f"http://a%40b:pw@{address}/v1/", headers={"X-Org": "o"}
        )
        http = HttptoolsTransport(settings, {"Authorization": "x"})
        async with http.stream("POST", "/chat?v=1", json={"a": 1}, headers={"x-org": "p"}) as reply:
            await reply.aread()
        async with http.stream("GET", f"http://{address}") as reply:
            await reply.aread()
        async with http.stream("POST", "/안#녕") as reply:
            await reply.aread()
        await http.aclose()
    first, second, third = (request.decode().split("\r\n") for request in seen)
    assert first[0] == "POST /v1/chat?v=1 HTTP/1.1"
    assert first[-1] == '{"a":1}'
    assert {
        f"host: {address}",
        "authorization: Basic YUBiOnB3",
        "content-length: 7",
        "content-type: application/json",
        "accept-encoding: identity",
        "x-org: p",
    } <= set(first)
    assert "x-org: o" not in first
    assert second[0] == "GET / HTTP/1.1"
    assert not any(line.startswith("content-") for line in second)
    assert third[0] == "POST /v1/%EC%95%88 HTTP/1.1"
    assert "content-length: 0" in third
    assert upstream.accepted == 1


@pytest.mark.parametrize("header", [("x y", "1"), ("x", "1\r\nevil: 1"), ("x", "\0")])
async def test_invalid_header_is_rejected(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        HttptoolsTransport(ProviderSettings(base_url="http://127.0.0.1:9"), dict([header]))


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999"])
async def test_non_http_url_is_rejected(url: str) -> None:
    with pytest.raises(errors.UpstreamProtocol):
        await fetch_body(make_transport(url))


# -- TLS


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize("kind", ["httptools", "aiohttp"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_calls_go_over_verified_tls_and_share_connections(tmp_path, loop, kind) -> None:
    key, cert = make_certificate(tmp_path)

    async def check() -> None:
        async with RawUpstream(respond_ok_forever, server_tls_context(key, cert)) as upstream:
            host = host_runtime(kind)
            settings = ProviderSettings(base_url=upstream.url, ca_file=str(cert))
            http = host.http(settings)
            for _ in range(20):
                assert await fetch_body(http) == b"ok"
            assert upstream.accepted == 1
            stranger = host.http(ProviderSettings(base_url=upstream.url))
            with pytest.raises(errors.UpstreamUnavailable) as caught:
                await fetch_body(stranger)
            assert caught.value.phase == "connect"
            await host.aclose()
            await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(check())
