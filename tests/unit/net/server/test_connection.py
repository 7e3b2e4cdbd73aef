"""The HTTP/1.1 server: the same tests for uvicorn's protocol and for ours."""

import asyncio
import gc
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from hamlet.api.dialects.openai.errors import render_error
from hamlet.net.server.connection import MAX_HEAD_BYTES, MAX_HEADERS, http_protocol
from hamlet.net.server.context import ConnectionTimeouts
from hamlet.net.server.http_exchange import HttpExchange, direct_exchange
from support.server import wait_until

SERVERS = {"uvicorn": "httptools", "ours": None}
BIG = 300_000


class PathApp:
    """An application whose behaviour is the path; records what it received."""

    def __init__(self) -> None:
        self.scopes, self.sent, self.ended = [], 0, []
        self.more: dict[str, str] = {}
        self.hold = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        path = scope["path"]
        try:
            await getattr(self, path.strip("/"))(scope, receive, send)
        except Exception as error:
            self.ended.append((path, type(error)))
            raise
        self.ended.append((path, None))

    async def echo(self, scope, receive, send) -> None:
        body = await read_body(receive)
        await send_response(send, body or b"none", method=scope["method"])

    async def delayed(self, scope, receive, send) -> None:
        await self.hold.wait()
        await send_response(send, b"delayed")

    async def early(self, scope, receive, send) -> None:
        await send_response(send, b"early", status=404)

    async def refuse(self, scope, receive, send) -> None:
        await send_response(send, b"too large", status=413, more=[(b"connection", b"close")])

    async def chunks(self, scope, receive, send) -> None:
        await read_body(receive)
        await send_start(send, 200, [])
        for part in (b"one", b"", b"two"):
            await send_body(send, part, more=True)
        await send_body(send, b"")

    async def none(self, scope, receive, send) -> None:
        await send_start(send, 204, [])
        await send_body(send, b"")

    async def watch(self, scope, receive, send) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await send_response(send, b"nobody hears this")

    async def after(self, scope, receive, send) -> None:
        await read_body(receive)
        await send_response(send, b"done")
        assert (await receive())["type"] == "http.disconnect"

    async def twofold(self, scope, receive, send) -> None:
        await read_body(receive)
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        assert {(await each)["type"] for each in waiting} == {"http.disconnect"}

    async def flood(self, scope, receive, send) -> None:
        await send_start(send, 200, [])
        leaving = asyncio.ensure_future(wait_for_disconnect(receive))
        while not leaving.done():
            await send_body(send, b"x" * 4096, more=True)
            self.sent += 4096
            await asyncio.sleep(0)

    async def raises(self, scope, receive, send) -> None:
        raise ValueError("before")

    async def breaks(self, scope, receive, send) -> None:
        await send_start(send, 200, [])
        await send_body(send, b"some", more=True)
        raise ValueError("in the middle")

    async def stops(self, scope, receive, send) -> None:
        await send_start(send, 200, [(b"content-length", b"9")])
        await send_body(send, b"some", more=True)

    async def silent(self, scope, receive, send) -> None:
        pass

    async def more(self, scope, receive, send) -> None:
        await send_start(send, 200, [(b"content-length", b"2")])
        await send_body(send, b"three")

    async def less(self, scope, receive, send) -> None:
        await send_start(send, 200, [(b"content-length", b"9")])
        await send_body(send, b"three")

    async def forged(self, scope, receive, send) -> None:
        await send_response(send, b"x", more=[(b"x-a", b"1\r\nx-b: 2")])

    async def misnamed(self, scope, receive, send) -> None:
        await send_response(send, b"x", more=[(b"x a", b"1")])

    async def direct(self, scope, receive, send) -> None:
        async def seen(message) -> None:
            await send(message)

        assert direct_exchange(receive, seen) is direct_exchange(lambda: receive(), send) is None
        cycle = direct_exchange(receive, send)
        body = cycle.body_if_complete(9)
        content = b"not here" if body is None else body
        if not cycle.try_respond(200, {"content-length": str(len(content)), **self.more}, content):
            await send_response(send, b"by messages")

    async def disordered(self, scope, receive, send) -> None:
        await send_body(send, b"x")

    async def twice(self, scope, receive, send) -> None:
        await send_response(send, b"once")
        await send_body(send, b"again")


async def read_body(receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        more = message["more_body"]
    return b"".join(parts)


async def wait_for_disconnect(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_start(send, status: int, headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def send_body(send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def send_response(send, body: bytes, *, status: int = 200, method: str = "", more=()) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"x-method", method.encode()), *more]
    await send_start(send, status, headers)
    await send_body(send, body)


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def read_response(
        self, *, no_body: bool = False
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """The next response. Raises IncompleteReadError if it is truncated."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            headers = dict(line.split(b": ", 1) for line in lines)
            assert len(headers) == len(lines), "no header twice"
            body = b""
            if headers.get(b"transfer-encoding") == b"chunked" and not no_body:
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                assert await self.reader.readexactly(2) == b"\r\n"
            elif not no_body:
                body = await self.reader.readexactly(int(headers.get(b"content-length", 0)))
            return int(first.split()[1]), headers, body

    async def read_to_eof(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.reader.read()


class ServerFixture:
    def __init__(self, app: PathApp, server: uvicorn.Server, port: int) -> None:
        self.app, self.server, self._port = app, server, port

    @asynccontextmanager
    async def connect(self, **limits) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, **limits)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


@pytest.fixture(params=SERVERS)
async def http_server(request):
    app = PathApp()
    settings = uvicorn.Config(
        app,
        port=0,
        http=SERVERS[request.param] or http_protocol(ConnectionTimeouts(), render_error),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
    )
    server = uvicorn.Server(settings)
    sock = settings.bind_socket()
    task = asyncio.create_task(server._serve([sock]))
    await wait_until(lambda: server.started)
    yield ServerFixture(app, server, sock.getsockname()[1])
    app.hold.set()
    server.should_exit = True
    await task
    sock.close()
    assert not server.server_state.tasks
    assert not server.server_state.connections


def request_bytes(
    path: str, body: bytes = b"", *lines: str, method: str = "POST", version="1.1"
) -> bytes:
    named = ["host: x", *lines, *([f"content-length: {len(body)}"] if body else [])]
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{line}\r\n" for line in named)
    return head.encode() + b"\r\n" + body


# -- requests


async def test_scope_describes_the_request(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/%65cho?a=b%20c#d", b"hi", "X-Two: 2", "X-Two: 3"))
        assert (await client.read_response())[2] == b"hi"
        await client.send(request_bytes("http://x:8/echo?q", b"hi"))
        assert (await client.read_response())[2] == b"hi"
    first, second = http_server.app.scopes
    assert (first["type"], first["method"], first["scheme"]) == ("http", "POST", "http")
    assert (first["path"], first["raw_path"]) == ("/echo", b"/%65cho")
    assert (first["query_string"], first["http_version"]) == (b"a=b%20c", "1.1")
    assert first["headers"][1:3] == [(b"x-two", b"2"), (b"x-two", b"3")]
    assert first["client"][0] == first["server"][0] == "127.0.0.1"
    assert (second["path"], second["query_string"]) == ("/echo", b"q")


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_request_may_arrive_in_any_segments(http_server, size: int) -> None:
    data = request_bytes("/echo", b"0123456789" * 3)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    async with http_server.connect() as client:
        for piece in pieces:
            client.writer.write(piece)
            await asyncio.sleep(0)
        assert (await client.read_response())[2] == b"0123456789" * 3


async def test_chunked_body_is_decoded(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(
            request_bytes("/echo", b"", "transfer-encoding: chunked"),
            b"3\r\none\r\n3\r\nt",
            b"wo\r\n0\r\n\r\n" + request_bytes("/echo", b"next"),
        )
        assert (await client.read_response())[2] == b"onetwo"
        assert (await client.read_response())[2] == b"next"


async def test_body_over_high_water_mark_arrives_whole(http_server) -> None:
    async with http_server.connect() as client:
        for _ in range(2):
            await client.send(request_bytes("/echo", b"y" * BIG))
            assert (await client.read_response())[2] == b"y" * BIG


async def test_unread_upload_applies_backpressure(http_server) -> None:
    async with http_server.connect() as client:
        client.writer.write(request_bytes("/delayed", b"y" * (64 << 20)))
        await wait_until(lambda: http_server.app.scopes)
        await asyncio.sleep(0.3)
        assert client.writer.transport.get_write_buffer_size() > 32 << 20
        http_server.app.hold.set()
        assert (await client.read_response())[2] == b"delayed"


async def test_expect_continue_is_answered_when_body_is_read(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/echo", b"", "expect: 100-continue", "content-length: 2"))
        async with asyncio.timeout(30):
            reported = await client.reader.readuntil(b"\r\n\r\n")
        assert reported == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi")
        assert (await client.read_response())[2] == b"hi"


async def test_expect_continue_is_not_answered_without_body_read(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(
            request_bytes("/refuse", b"", "expect: 100-continue", "content-length: 2")
        )
        assert (await client.read_response())[0] == 413
        assert await client.read_to_eof() == b""


@pytest.mark.parametrize("order", [["echo", "chunks"], ["chunks", "echo"], ["early", "echo"]])
async def test_pipelined_requests_are_answered_in_order(http_server, order) -> None:
    names = order * 3
    bodies = {"echo": b"hi", "chunks": b"onetwo", "early": b"early"}
    async with http_server.connect() as client:
        await client.send(b"".join(request_bytes(f"/{name}", b"hi") for name in names))
        assert [(await client.read_response())[2] for _ in names] == [
            bodies[name] for name in names
        ]


async def test_pipelined_request_waits_for_the_previous_one(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(
            request_bytes("/delayed", b"a"),
            request_bytes("/echo", b"b"),
            request_bytes("/echo", b"c"),
        )
        assert [scope["path"] for scope in http_server.app.scopes] == ["/delayed"]
        http_server.app.hold.set()
        assert [(await client.read_response())[2] for _ in range(3)] == [b"delayed", b"b", b"c"]


async def test_upgrade_request_is_ignored(http_server) -> None:
    lines = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    async with http_server.connect() as client:
        await client.send(request_bytes("/echo", b"", *lines, method="GET"))
        assert (await client.read_response())[2] == b"none"


@pytest.mark.parametrize("bad", [b"GET\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
async def test_malformed_request_gets_complete_error_response(http_server, bad: bytes) -> None:
    async with http_server.connect() as client:
        await client.send(bad)
        assert (await client.read_response())[0] == 400
        assert await client.read_to_eof() == b""


# -- connections


async def test_connection_is_reused_after_a_stream(http_server) -> None:
    async with http_server.connect() as client:
        for path, said in (("/chunks", b"onetwo"), ("/echo", b"hi"), ("/chunks", b"onetwo")):
            await client.send(request_bytes(path, b"hi"))
            status, headers, body = await client.read_response()
            assert (status, body) == (200, said)
            assert b"connection" not in headers
            assert b"date" in headers


async def test_connection_is_reused_after_a_response_before_the_body(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/early", b"", "content-length: 4"))
        assert (await client.read_response())[0] == 404
        await client.send(b"late" + request_bytes("/echo", b"hi"))
        assert (await client.read_response())[2] == b"hi"


@pytest.mark.parametrize(
    "data",
    [
        request_bytes("/echo", b"hi", "connection: close"),
        request_bytes("/echo", b"hi", version="1.0"),
    ],
    ids=["close", "1.0"],
)
async def test_connection_close_is_honoured(http_server, data: bytes) -> None:
    async with http_server.connect() as client:
        await client.send(data)
        _, headers, body = await client.read_response()
        assert (headers[b"connection"], body) == (b"close", b"hi")
        assert await client.read_to_eof() == b""


async def test_application_may_close_the_connection(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/refuse", b"hi"))
        status, headers, body = await client.read_response()
        assert (status, headers[b"connection"], body) == (413, b"close", b"too large")
        assert await client.read_to_eof() == b""


async def test_head_response_has_headers_and_no_body(http_server) -> None:
    async with http_server.connect() as client:
        for path, length in (("/echo", b"4"), ("/chunks", None), ("/echo", b"4")):
            await client.send(request_bytes(path, method="HEAD"))
            status, headers, _ = await client.read_response(no_body=True)
            assert (status, headers.get(b"content-length")) == (200, length)
            assert b"transfer-encoding" not in headers


async def test_status_without_content_has_no_framing(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/none") + request_bytes("/echo", b"hi"))
        status, headers, _ = await client.read_response()
        assert status == 204
        assert not {b"content-length", b"transfer-encoding"} & set(headers)
        assert (await client.read_response())[2] == b"hi"


# -- clients that disconnect or do not read


async def test_disconnect_before_response_is_reported(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/watch"))
    await wait_until(lambda: http_server.app.ended)
    assert http_server.app.ended == [("/watch", None)]


async def test_disconnect_wakes_all_waiting_receivers(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/twofold", b"hi"))
    await wait_until(lambda: http_server.app.ended)
    assert http_server.app.ended == [("/twofold", None)]


async def test_disconnect_during_response_is_reported(http_server) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes("/flood"))
        assert await client.reader.read(10)
    await wait_until(lambda: http_server.app.ended)
    assert http_server.app.ended == [("/flood", None)]


@pytest.mark.parametrize(
    ("path", "said", "ends"), [("/after", b"done", None), ("/twice", b"once", RuntimeError)]
)
async def test_receive_and_send_after_response(http_server, path: str, said: bytes, ends) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes(path))
        assert (await client.read_response())[2] == said
        await wait_until(lambda: http_server.app.ended)
    assert http_server.app.ended == [(path, ends)]


async def test_slow_reader_applies_backpressure(http_server) -> None:
    async with http_server.connect(limit=1024) as client:
        await client.send(request_bytes("/flood"))
        before = -1
        while http_server.app.sent != before:
            before = http_server.app.sent
            await asyncio.sleep(0.2)
        assert await client.reader.readexactly(before // 2)
        await wait_until(lambda: http_server.app.sent > before)


# -- applications that fail


@pytest.mark.parametrize("path", ["/raises", "/silent", "/disordered"])
async def test_failure_before_response_is_a_whole_500(http_server, path: str) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes(path))
        status, headers, body = await client.read_response()
        assert (status, headers[b"connection"]) == (500, b"close")
        assert body == b"Internal Server Error"
        assert await client.read_to_eof() == b""


@pytest.mark.parametrize("path", ["/breaks", "/stops"])
async def test_interrupted_response_is_detectable(http_server, path: str) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes(path))
        with pytest.raises(asyncio.IncompleteReadError):
            await client.read_response()


@pytest.mark.parametrize("path", ["/more", "/less", "/forged", "/misnamed"])
async def test_invalid_response_is_never_sent(http_server, path: str) -> None:
    async with http_server.connect() as client:
        await client.send(request_bytes(path))
        said = await client.read_to_eof()
    assert b"x-b" not in said
    if said.startswith(b"HTTP/1.1 200"):
        length = int(said.partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert len(said.partition(b"\r\n\r\n")[2]) < length, "uvicorn has sent the head already"
    else:
        assert said == b"" or said.startswith(b"HTTP/1.1 500")


# -- shutdown


async def test_shutdown_finishes_requests_and_closes_idle_connections(http_server) -> None:
    async with http_server.connect() as busy, http_server.connect() as idle:
        await idle.send(request_bytes("/echo", b"hi"))
        await idle.read_response()
        await busy.send(request_bytes("/delayed"))
        http_server.server.should_exit = True
        assert await idle.read_to_eof() == b""
        http_server.app.hold.set()
        _, headers, body = await busy.read_response()
        assert (headers[b"connection"], body) == (b"close", b"delayed")
        assert await busy.read_to_eof() == b""


# -- our protocol only


class RecordingTransport(asyncio.Transport):
    """Records each write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high=None, low=None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


def make_connection(
    app: PathApp, *, head_s: float = 10.0, **settings
) -> tuple[asyncio.Protocol, RecordingTransport, ServerState]:
    config = uvicorn.Config(
        app,
        http=http_protocol(ConnectionTimeouts(head_s), render_error),
        log_config=None,
        **settings,
    )
    config.load()
    state, wire = ServerState(), RecordingTransport()
    protocol = config.http_protocol_class(config=config, server_state=state, app_state={})
    protocol.connection_made(wire)
    return protocol, wire, state


async def test_head_and_body_are_one_write() -> None:
    for path, end in (("/echo", b"\r\n\r\nhi"), ("/breaks", b"\r\n\r\n4\r\nsome\r\n")):
        protocol, wire, state = make_connection(PathApp())
        protocol.data_received(request_bytes(path, b"hi"))
        await wait_until(lambda state=state: not state.tasks)
        assert wire.written[0].endswith(end)
        assert len(wire.written) == 1
        protocol.connection_lost(None)


async def test_trailer_is_not_a_header() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    upload = b"2\r\nhi\r\n0\r\nauthorization: Bearer forged\r\n\r\n"
    for _ in range(2):
        protocol.data_received(request_bytes("/echo", b"", "transfer-encoding: chunked") + upload)
        await wait_until(lambda: not state.tasks)
    named = [name for scope in app.scopes for name, _ in scope["headers"]]
    assert named == [b"host", b"transfer-encoding"] * 2
    assert [data.endswith(b"hi") for data in wire.written] == [True, True]
    protocol.connection_lost(None)


async def test_connection_over_limit_gets_503() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app, limit_concurrency=1)
    protocol.data_received(request_bytes("/echo", b"hi"))
    await wait_until(lambda: not state.tasks)
    assert wire.written[0].startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in wire.written[0]
    assert app.scopes == []
    protocol.connection_lost(None)


async def test_default_headers_are_current() -> None:
    protocol, wire, state = make_connection(PathApp())
    for pairs in ([(b"date", b"then")], [(b"date", b"now"), (b"connection", b"close")]):
        state.default_headers = pairs
        protocol.data_received(request_bytes("/echo", b"hi"))
        await wait_until(lambda: not state.tasks)
    assert b"date: then" in wire.written[0]
    assert b"connection" not in wire.written[0]
    assert b"date: now" in wire.written[1]
    assert wire.written[1].count(b"connection: close") == 1
    protocol.connection_lost(None)


async def test_slow_request_head_times_out_after_previous_response() -> None:
    app = PathApp()
    protocol, wire, _ = make_connection(app, head_s=0.02)
    protocol.data_received(request_bytes("/delayed", b"a") + b"GET / HTTP/1.1\r\nhost")
    await wait_until(lambda: app.scopes)
    await asyncio.sleep(0.1)
    app.hold.set()
    await wait_until(lambda: len(wire.written) == 2)
    assert [data[9:12] for data in wire.written] == [b"200", b"408"]
    protocol.connection_lost(None)


async def test_direct_exchange_reads_and_responds_synchronously() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    protocol.data_received(
        request_bytes("/direct", b"hi") + request_bytes("/direct", b"b", version="1.0")
    )
    await wait_until(lambda: len(wire.written) == 2 and not state.tasks)
    assert wire.written[0].endswith(b"content-length: 2\r\n\r\nhi")
    assert wire.written[1].endswith(b"content-length: 1\r\nconnection: close\r\n\r\nb")
    assert app.ended == [("/direct", None)] * 2
    protocol.connection_lost(None)


@pytest.mark.parametrize("body", [b"x" * 10, b"hi"], ids=["too large", "not here yet"])
async def test_direct_body_needs_a_complete_and_small_request(body: bytes) -> None:
    protocol, wire, state = make_connection(PathApp())
    asked = request_bytes("/direct", body)
    protocol.data_received(asked if len(body) > 9 else asked[:-1])
    await wait_until(lambda: wire.written and not state.tasks)
    assert wire.written[0].endswith(b"not here")
    protocol.connection_lost(None)


async def test_direct_response_is_refused_while_writing_is_paused() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    protocol.pause_writing()
    protocol.data_received(request_bytes("/direct", b"hi"))
    await wait_until(lambda: app.scopes)
    await asyncio.sleep(0)
    assert wire.written == []
    protocol.resume_writing()
    await wait_until(lambda: wire.written and not state.tasks)
    assert wire.written[0].endswith(b"by messages")
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("more", "status", "end"),
    [
        ({"connection": "close"}, b"200", b"by messages"),
        ({"x-a": "1\r\nx-b: 2"}, b"500", b"Internal Server Error"),
    ],
)
async def test_direct_response_is_refused_for_special_headers(more, status, end) -> None:
    app = PathApp()
    app.more = more
    protocol, wire, state = make_connection(app)
    protocol.data_received(request_bytes("/direct", b"hi"))
    await wait_until(lambda: wire.written and not state.tasks)
    assert (wire.written[0][9:12], wire.written[0].endswith(end)) == (status, True)
    assert b"x-b" not in wire.written[0]
    protocol.connection_lost(None)


async def test_no_response_after_disconnect() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    protocol.data_received(request_bytes("/direct", b"hi"))
    protocol.connection_lost(None)
    await wait_until(lambda: not state.tasks)
    assert (app.ended, wire.written) == ([("/direct", None)], [])


async def test_head_size_excludes_other_bytes_of_the_read() -> None:
    protocol, wire, state = make_connection(PathApp())
    large = request_bytes("/echo", b"x" * 2 * MAX_HEAD_BYTES)
    protocol.data_received(large + request_bytes("/echo", b"b") + large)
    await wait_until(lambda: len(wire.written) >= 3 and not state.tasks)
    assert [data[9:12] for data in wire.written if data.startswith(b"HTTP/")] == [b"200"] * 3
    protocol.connection_lost(None)


async def test_trailers_are_ignored() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    head = b"POST /echo HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    protocol.data_received(
        head + b"x: y\r\n" * 2 * MAX_HEADERS + b"\r\n" + request_bytes("/echo", b"b")
    )
    await wait_until(lambda: len(wire.written) == 2 and not state.tasks)
    assert [data[9:12] for data in wire.written] == [b"200", b"200"]
    assert [len(scope["headers"]) < 5 for scope in app.scopes] == [True, True]
    protocol.connection_lost(None)


async def test_disconnect_drops_pipelined_requests() -> None:
    app = PathApp()
    protocol, wire, state = make_connection(app)
    protocol.data_received(request_bytes("/delayed", b"a") + request_bytes("/echo", b"b"))
    await wait_until(lambda: app.scopes)
    protocol.connection_lost(None)
    app.hold.set()
    await wait_until(lambda: not state.tasks)
    assert (app.ended, wire.written) == ([("/delayed", None)], [])


@pytest.mark.slow
async def test_finished_exchange_is_freed_without_garbage_collection() -> None:
    protocol, _, state = make_connection(PathApp())
    gc.collect()
    gc.disable()
    try:
        for path in ("/echo", "/chunks", "/early"):
            protocol.data_received(request_bytes(path, b"hi"))
            await wait_until(lambda: not state.tasks)
        assert not [each for each in gc.get_objects() if isinstance(each, HttpExchange)]
    finally:
        gc.enable()
    protocol.connection_lost(None)


def test_protocol_has_what_uvicorn_uses() -> None:
    """What hamlet relies on in uvicorn beyond imported names; review it when its pin changes."""
    source = inspect.getsource(uvicorn.server)
    assert set(re.findall(r"\bconnection\.(\w+)", source)) == {"shutdown"}
    made = source.partition("config.http_protocol_class(")[2].partition(")")[0]
    assert re.findall(r"(\w+)=", made) == ["config", "server_state", "app_state", "_loop"]
    assert set(vars(ServerState())) == {
        "connections", "default_headers", "tasks", "total_requests",
    }  # fmt: skip
    # To change the headers, uvicorn makes a new list.
    assert re.findall(r"default_headers\W+=", source)
    assert not re.search(r"default_headers\.|default_headers\[", source)
