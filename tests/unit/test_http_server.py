"""HTTP/1.1 as it is served: the same is asked of uvicorn's own protocol and of ours."""

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
from hamlet.net.server.connection import MAX_HEAD_BYTES, MAX_HEADERS, Patience, guarded
from hamlet.net.server.exchange import Cycle, straight
from support.server import until

SERVERS = {"uvicorn": "httptools", "ours": None}
BIG = 300_000


class App:
    """Does what the path says, and notes what it saw."""

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
        body = await whole(receive)
        await answer(send, body or b"none", method=scope["method"])

    async def held(self, scope, receive, send) -> None:
        await self.hold.wait()
        await answer(send, b"held")

    async def early(self, scope, receive, send) -> None:
        await answer(send, b"early", status=404)

    async def refuse(self, scope, receive, send) -> None:
        await answer(send, b"too large", status=413, more=[(b"connection", b"close")])

    async def chunks(self, scope, receive, send) -> None:
        await whole(receive)
        await start(send, 200, [])
        for part in (b"one", b"", b"two"):
            await body_of(send, part, more=True)
        await body_of(send, b"")

    async def none(self, scope, receive, send) -> None:
        await start(send, 204, [])
        await body_of(send, b"")

    async def watch(self, scope, receive, send) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await answer(send, b"nobody hears this")

    async def after(self, scope, receive, send) -> None:
        await whole(receive)
        await answer(send, b"done")
        assert (await receive())["type"] == "http.disconnect"

    async def twofold(self, scope, receive, send) -> None:
        await whole(receive)
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        assert {(await each)["type"] for each in waiting} == {"http.disconnect"}

    async def flood(self, scope, receive, send) -> None:
        await start(send, 200, [])
        leaving = asyncio.ensure_future(gone(receive))
        while not leaving.done():
            await body_of(send, b"x" * 4096, more=True)
            self.sent += 4096
            await asyncio.sleep(0)

    async def raises(self, scope, receive, send) -> None:
        raise ValueError("before")

    async def breaks(self, scope, receive, send) -> None:
        await start(send, 200, [])
        await body_of(send, b"some", more=True)
        raise ValueError("in the middle")

    async def stops(self, scope, receive, send) -> None:
        await start(send, 200, [(b"content-length", b"9")])
        await body_of(send, b"some", more=True)

    async def silent(self, scope, receive, send) -> None:
        pass

    async def more(self, scope, receive, send) -> None:
        await start(send, 200, [(b"content-length", b"2")])
        await body_of(send, b"three")

    async def less(self, scope, receive, send) -> None:
        await start(send, 200, [(b"content-length", b"9")])
        await body_of(send, b"three")

    async def forged(self, scope, receive, send) -> None:
        await answer(send, b"x", more=[(b"x-a", b"1\r\nx-b: 2")])

    async def misnamed(self, scope, receive, send) -> None:
        await answer(send, b"x", more=[(b"x a", b"1")])

    async def straight(self, scope, receive, send) -> None:
        async def seen(message) -> None:
            await send(message)

        assert straight(receive, seen) is straight(lambda: receive(), send) is None
        cycle = straight(receive, send)
        body = cycle.take(9)
        told = b"not here" if body is None else body
        if not cycle.answer(200, {"content-length": str(len(told)), **self.more}, told):
            await answer(send, b"by messages")

    async def disordered(self, scope, receive, send) -> None:
        await body_of(send, b"x")

    async def twice(self, scope, receive, send) -> None:
        await answer(send, b"once")
        await body_of(send, b"again")


async def whole(receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        more = message["more_body"]
    return b"".join(parts)


async def gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def start(send, status: int, headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body_of(send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def answer(send, body: bytes, *, status: int = 200, method: str = "", more=()) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"x-method", method.encode()), *more]
    await start(send, status, headers)
    await body_of(send, body)


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)

    async def answer(self, *, bare: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
        """The next answer. Raises IncompleteReadError if it does not come whole."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            headers = dict(line.split(b": ", 1) for line in lines)
            assert len(headers) == len(lines), "no header twice"
            body = b""
            if headers.get(b"transfer-encoding") == b"chunked" and not bare:
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                assert await self.reader.readexactly(2) == b"\r\n"
            elif not bare:
                body = await self.reader.readexactly(int(headers.get(b"content-length", 0)))
            return int(first.split()[1]), headers, body

    async def rest(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.reader.read()


class Stand:
    def __init__(self, app: App, server: uvicorn.Server, port: int) -> None:
        self.app, self.server, self._port = app, server, port

    @asynccontextmanager
    async def dial(self, **limits) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, **limits)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


@pytest.fixture(params=SERVERS)
async def stand(request):
    app = App()
    settings = uvicorn.Config(
        app,
        port=0,
        http=SERVERS[request.param] or guarded(Patience(), render_error),
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
    )
    server = uvicorn.Server(settings)
    sock = settings.bind_socket()
    task = asyncio.create_task(server._serve([sock]))
    await until(lambda: server.started)
    yield Stand(app, server, sock.getsockname()[1])
    app.hold.set()
    server.should_exit = True
    await task
    sock.close()
    assert not server.server_state.tasks
    assert not server.server_state.connections


def ask(path: str, body: bytes = b"", *lines: str, method: str = "POST", version="1.1") -> bytes:
    named = ["host: x", *lines, *([f"content-length: {len(body)}"] if body else [])]
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{line}\r\n" for line in named)
    return head.encode() + b"\r\n" + body


# -- requests


async def test_an_application_is_told_what_was_asked(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/%65cho?a=b%20c#d", b"hi", "X-Two: 2", "X-Two: 3"))
        assert (await client.answer())[2] == b"hi"
        await client.say(ask("http://x:8/echo?q", b"hi"))
        assert (await client.answer())[2] == b"hi"
    first, second = stand.app.scopes
    assert (first["type"], first["method"], first["scheme"]) == ("http", "POST", "http")
    assert (first["path"], first["raw_path"]) == ("/echo", b"/%65cho")
    assert (first["query_string"], first["http_version"]) == (b"a=b%20c", "1.1")
    assert first["headers"][1:3] == [(b"x-two", b"2"), (b"x-two", b"3")]
    assert first["client"][0] == first["server"][0] == "127.0.0.1"
    assert (second["path"], second["query_string"]) == ("/echo", b"q")


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_a_request_may_come_in_any_pieces(stand, size: int) -> None:
    data = ask("/echo", b"0123456789" * 3)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    async with stand.dial() as client:
        for piece in pieces:
            client.writer.write(piece)
            await asyncio.sleep(0)
        assert (await client.answer())[2] == b"0123456789" * 3


async def test_a_chunked_upload_is_put_together(stand) -> None:
    async with stand.dial() as client:
        await client.say(
            ask("/echo", b"", "transfer-encoding: chunked"),
            b"3\r\none\r\n3\r\nt",
            b"wo\r\n0\r\n\r\n" + ask("/echo", b"next"),
        )
        assert (await client.answer())[2] == b"onetwo"
        assert (await client.answer())[2] == b"next"


async def test_an_upload_over_the_high_water_mark_comes_whole(stand) -> None:
    async with stand.dial() as client:
        for _ in range(2):
            await client.say(ask("/echo", b"y" * BIG))
            assert (await client.answer())[2] == b"y" * BIG


async def test_what_nobody_takes_is_not_read_on_for_ever(stand) -> None:
    async with stand.dial() as client:
        client.writer.write(ask("/held", b"y" * (64 << 20)))
        await until(lambda: stand.app.scopes)
        await asyncio.sleep(0.3)
        assert client.writer.transport.get_write_buffer_size() > 32 << 20
        stand.app.hold.set()
        assert (await client.answer())[2] == b"held"


async def test_who_asks_first_is_told_to_go_on_once_the_body_is_wanted(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/echo", b"", "expect: 100-continue", "content-length: 2"))
        async with asyncio.timeout(30):
            told = await client.reader.readuntil(b"\r\n\r\n")
        assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.say(b"hi")
        assert (await client.answer())[2] == b"hi"


async def test_who_asks_first_is_not_told_to_go_on_if_the_body_is_not_wanted(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/refuse", b"", "expect: 100-continue", "content-length: 2"))
        assert (await client.answer())[0] == 413
        assert await client.rest() == b""


@pytest.mark.parametrize("order", [["echo", "chunks"], ["chunks", "echo"], ["early", "echo"]])
async def test_requests_in_one_piece_are_answered_in_their_order(stand, order) -> None:
    names = order * 3
    bodies = {"echo": b"hi", "chunks": b"onetwo", "early": b"early"}
    async with stand.dial() as client:
        await client.say(b"".join(ask(f"/{name}", b"hi") for name in names))
        assert [(await client.answer())[2] for _ in names] == [bodies[name] for name in names]


async def test_a_request_waits_for_the_one_before_it(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/held", b"a"), ask("/echo", b"b"), ask("/echo", b"c"))
        assert [scope["path"] for scope in stand.app.scopes] == ["/held"]
        stand.app.hold.set()
        assert [(await client.answer())[2] for _ in range(3)] == [b"held", b"b", b"c"]


async def test_a_wish_for_another_protocol_is_passed_over(stand) -> None:
    lines = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    async with stand.dial() as client:
        await client.say(ask("/echo", b"", *lines, method="GET"))
        assert (await client.answer())[2] == b"none"


@pytest.mark.parametrize("bad", [b"GET\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
async def test_what_is_no_request_is_answered_whole(stand, bad: bytes) -> None:
    async with stand.dial() as client:
        await client.say(bad)
        assert (await client.answer())[0] == 400
        assert await client.rest() == b""


# -- the connection


async def test_a_connection_serves_again_after_a_stream(stand) -> None:
    async with stand.dial() as client:
        for path, said in (("/chunks", b"onetwo"), ("/echo", b"hi"), ("/chunks", b"onetwo")):
            await client.say(ask(path, b"hi"))
            status, headers, body = await client.answer()
            assert (status, body) == (200, said)
            assert b"connection" not in headers
            assert b"date" in headers


async def test_a_connection_serves_again_after_an_answer_before_the_body(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/early", b"", "content-length: 4"))
        assert (await client.answer())[0] == 404
        await client.say(b"late" + ask("/echo", b"hi"))
        assert (await client.answer())[2] == b"hi"


@pytest.mark.parametrize(
    "data",
    [ask("/echo", b"hi", "connection: close"), ask("/echo", b"hi", version="1.0")],
    ids=["close", "1.0"],
)
async def test_who_wants_one_answer_gets_one(stand, data: bytes) -> None:
    async with stand.dial() as client:
        await client.say(data)
        _, headers, body = await client.answer()
        assert (headers[b"connection"], body) == (b"close", b"hi")
        assert await client.rest() == b""


async def test_an_application_may_end_the_connection(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/refuse", b"hi"))
        status, headers, body = await client.answer()
        assert (status, headers[b"connection"], body) == (413, b"close", b"too large")
        assert await client.rest() == b""


async def test_head_has_the_headers_and_no_body(stand) -> None:
    async with stand.dial() as client:
        for path, length in (("/echo", b"4"), ("/chunks", None), ("/echo", b"4")):
            await client.say(ask(path, method="HEAD"))
            status, headers, _ = await client.answer(bare=True)
            assert (status, headers.get(b"content-length")) == (200, length)
            assert b"transfer-encoding" not in headers


async def test_no_content_has_no_framing(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/none") + ask("/echo", b"hi"))
        status, headers, _ = await client.answer()
        assert status == 204
        assert not {b"content-length", b"transfer-encoding"} & set(headers)
        assert (await client.answer())[2] == b"hi"


# -- who goes, and who does not read


async def test_a_client_that_goes_before_the_answer_is_noticed(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/watch"))
    await until(lambda: stand.app.ended)
    assert stand.app.ended == [("/watch", None)]


async def test_a_client_that_goes_is_noticed_by_all_who_wait_for_it(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/twofold", b"hi"))
    await until(lambda: stand.app.ended)
    assert stand.app.ended == [("/twofold", None)]


async def test_a_client_that_goes_during_the_answer_is_noticed(stand) -> None:
    async with stand.dial() as client:
        await client.say(ask("/flood"))
        assert await client.reader.read(10)
    await until(lambda: stand.app.ended)
    assert stand.app.ended == [("/flood", None)]


@pytest.mark.parametrize(
    ("path", "said", "ends"), [("/after", b"done", None), ("/twice", b"once", RuntimeError)]
)
async def test_after_its_answer_an_application_hears_of_a_disconnect_and_can_say_no_more(
    stand, path: str, said: bytes, ends
) -> None:
    async with stand.dial() as client:
        await client.say(ask(path))
        assert (await client.answer())[2] == said
        await until(lambda: stand.app.ended)
    assert stand.app.ended == [(path, ends)]


async def test_a_slow_reader_holds_the_application_back(stand) -> None:
    async with stand.dial(limit=1024) as client:
        await client.say(ask("/flood"))
        before = -1
        while stand.app.sent != before:
            before = stand.app.sent
            await asyncio.sleep(0.2)
        assert await client.reader.readexactly(before // 2)
        await until(lambda: stand.app.sent > before)


# -- applications that fail


@pytest.mark.parametrize("path", ["/raises", "/silent", "/disordered"])
async def test_a_failure_before_the_answer_is_told_whole(stand, path: str) -> None:
    async with stand.dial() as client:
        await client.say(ask(path))
        status, headers, body = await client.answer()
        assert (status, headers[b"connection"]) == (500, b"close")
        assert body == b"Internal Server Error"
        assert await client.rest() == b""


@pytest.mark.parametrize("path", ["/breaks", "/stops"])
async def test_an_answer_that_breaks_off_does_not_look_whole(stand, path: str) -> None:
    async with stand.dial() as client:
        await client.say(ask(path))
        with pytest.raises(asyncio.IncompleteReadError):
            await client.answer()


@pytest.mark.parametrize("path", ["/more", "/less", "/forged", "/misnamed"])
async def test_an_answer_that_cannot_be_sent_is_never_taken_for_one(stand, path: str) -> None:
    async with stand.dial() as client:
        await client.say(ask(path))
        said = await client.rest()
    assert b"x-b" not in said
    if said.startswith(b"HTTP/1.1 200"):
        length = int(said.partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert len(said.partition(b"\r\n\r\n")[2]) < length, "uvicorn has sent the head already"
    else:
        assert said == b"" or said.startswith(b"HTTP/1.1 500")


# -- the end


async def test_a_stop_lets_what_is_under_way_finish_and_closes_what_idles(stand) -> None:
    async with stand.dial() as busy, stand.dial() as idle:
        await idle.say(ask("/echo", b"hi"))
        await idle.answer()
        await busy.say(ask("/held"))
        stand.server.should_exit = True
        assert await idle.rest() == b""
        stand.app.hold.set()
        _, headers, body = await busy.answer()
        assert (headers[b"connection"], body) == (b"close", b"held")
        assert await busy.rest() == b""


# -- ours alone


class Wire(asyncio.Transport):
    """Takes what is written, and notes each write."""

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


def connected(
    app: App, *, head_s: float = 10.0, **settings
) -> tuple[asyncio.Protocol, Wire, ServerState]:
    config = uvicorn.Config(
        app, http=guarded(Patience(head_s), render_error), log_config=None, **settings
    )
    config.load()
    state, wire = ServerState(), Wire()
    protocol = config.http_protocol_class(config=config, server_state=state, app_state={})
    protocol.connection_made(wire)
    return protocol, wire, state


async def test_head_and_body_go_out_in_one_write() -> None:
    for path, end in (("/echo", b"\r\n\r\nhi"), ("/breaks", b"\r\n\r\n4\r\nsome\r\n")):
        protocol, wire, state = connected(App())
        protocol.data_received(ask(path, b"hi"))
        await until(lambda state=state: not state.tasks)
        assert wire.written[0].endswith(end)
        assert len(wire.written) == 1
        protocol.connection_lost(None)


async def test_what_follows_a_body_is_no_header() -> None:
    app = App()
    protocol, wire, state = connected(app)
    upload = b"2\r\nhi\r\n0\r\nauthorization: Bearer forged\r\n\r\n"
    for _ in range(2):
        protocol.data_received(ask("/echo", b"", "transfer-encoding: chunked") + upload)
        await until(lambda: not state.tasks)
    named = [name for scope in app.scopes for name, _ in scope["headers"]]
    assert named == [b"host", b"transfer-encoding"] * 2
    assert [data.endswith(b"hi") for data in wire.written] == [True, True]
    protocol.connection_lost(None)


async def test_one_connection_too_many_is_told_so() -> None:
    app = App()
    protocol, wire, state = connected(app, limit_concurrency=1)
    protocol.data_received(ask("/echo", b"hi"))
    await until(lambda: not state.tasks)
    assert wire.written[0].startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in wire.written[0]
    assert app.scopes == []
    protocol.connection_lost(None)


async def test_the_server_s_own_headers_are_those_of_now() -> None:
    protocol, wire, state = connected(App())
    for pairs in ([(b"date", b"then")], [(b"date", b"now"), (b"connection", b"close")]):
        state.default_headers = pairs
        protocol.data_received(ask("/echo", b"hi"))
        await until(lambda: not state.tasks)
    assert b"date: then" in wire.written[0]
    assert b"connection" not in wire.written[0]
    assert b"date: now" in wire.written[1]
    assert wire.written[1].count(b"connection: close") == 1
    protocol.connection_lost(None)


async def test_a_head_that_lags_is_refused_after_the_answer_before_it() -> None:
    app = App()
    protocol, wire, _ = connected(app, head_s=0.02)
    protocol.data_received(ask("/held", b"a") + b"GET / HTTP/1.1\r\nhost")
    await until(lambda: app.scopes)
    await asyncio.sleep(0.1)
    app.hold.set()
    await until(lambda: len(wire.written) == 2)
    assert [data[9:12] for data in wire.written] == [b"200", b"408"]
    protocol.connection_lost(None)


async def test_who_has_both_ends_takes_and_answers_at_once() -> None:
    app = App()
    protocol, wire, state = connected(app)
    protocol.data_received(ask("/straight", b"hi") + ask("/straight", b"b", version="1.0"))
    await until(lambda: len(wire.written) == 2 and not state.tasks)
    assert wire.written[0].endswith(b"content-length: 2\r\n\r\nhi")
    assert wire.written[1].endswith(b"content-length: 1\r\nconnection: close\r\n\r\nb")
    assert app.ended == [("/straight", None)] * 2
    protocol.connection_lost(None)


@pytest.mark.parametrize("body", [b"x" * 10, b"hi"], ids=["too large", "not here yet"])
async def test_what_is_not_all_here_or_too_large_is_not_taken(body: bytes) -> None:
    protocol, wire, state = connected(App())
    asked = ask("/straight", body)
    protocol.data_received(asked if len(body) > 9 else asked[:-1])
    await until(lambda: wire.written and not state.tasks)
    assert wire.written[0].endswith(b"not here")
    protocol.connection_lost(None)


async def test_a_client_that_has_to_read_first_is_answered_by_messages() -> None:
    app = App()
    protocol, wire, state = connected(app)
    protocol.pause_writing()
    protocol.data_received(ask("/straight", b"hi"))
    await until(lambda: app.scopes)
    await asyncio.sleep(0)
    assert wire.written == []
    protocol.resume_writing()
    await until(lambda: wire.written and not state.tasks)
    assert wire.written[0].endswith(b"by messages")
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("more", "status", "end"),
    [
        ({"connection": "close"}, b"200", b"by messages"),
        ({"x-a": "1\r\nx-b: 2"}, b"500", b"Internal Server Error"),
    ],
)
async def test_headers_that_need_a_look_are_not_sent_at_once(more, status, end) -> None:
    app = App()
    app.more = more
    protocol, wire, state = connected(app)
    protocol.data_received(ask("/straight", b"hi"))
    await until(lambda: wire.written and not state.tasks)
    assert (wire.written[0][9:12], wire.written[0].endswith(end)) == (status, True)
    assert b"x-b" not in wire.written[0]
    protocol.connection_lost(None)


async def test_nobody_is_answered_who_has_gone() -> None:
    app = App()
    protocol, wire, state = connected(app)
    protocol.data_received(ask("/straight", b"hi"))
    protocol.connection_lost(None)
    await until(lambda: not state.tasks)
    assert (app.ended, wire.written) == ([("/straight", None)], [])


async def test_a_head_is_measured_without_what_came_with_it() -> None:
    protocol, wire, state = connected(App())
    large = ask("/echo", b"x" * 2 * MAX_HEAD_BYTES)
    protocol.data_received(large + ask("/echo", b"b") + large)
    await until(lambda: len(wire.written) >= 3 and not state.tasks)
    assert [data[9:12] for data in wire.written if data.startswith(b"HTTP/")] == [b"200"] * 3
    protocol.connection_lost(None)


async def test_trailers_are_passed_over_however_many_there_are() -> None:
    app = App()
    protocol, wire, state = connected(app)
    head = b"POST /echo HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    protocol.data_received(head + b"x: y\r\n" * 2 * MAX_HEADERS + b"\r\n" + ask("/echo", b"b"))
    await until(lambda: len(wire.written) == 2 and not state.tasks)
    assert [data[9:12] for data in wire.written] == [b"200", b"200"]
    assert [len(scope["headers"]) < 5 for scope in app.scopes] == [True, True]
    protocol.connection_lost(None)


async def test_a_client_that_goes_takes_with_it_what_waited_its_turn() -> None:
    app = App()
    protocol, wire, state = connected(app)
    protocol.data_received(ask("/held", b"a") + ask("/echo", b"b"))
    await until(lambda: app.scopes)
    protocol.connection_lost(None)
    app.hold.set()
    await until(lambda: not state.tasks)
    assert (app.ended, wire.written) == ([("/held", None)], [])


async def test_an_answered_request_needs_no_collector() -> None:
    protocol, _, state = connected(App())
    gc.collect()
    gc.disable()
    try:
        for path in ("/echo", "/chunks", "/early"):
            protocol.data_received(ask(path, b"hi"))
            await until(lambda: not state.tasks)
        assert not [each for each in gc.get_objects() if isinstance(each, Cycle)]
    finally:
        gc.enable()
    protocol.connection_lost(None)


def test_uvicorn_asks_of_a_connection_what_ours_gives() -> None:
    """What is leaned on besides names that fail on import: look here when its pin moves."""
    source = inspect.getsource(uvicorn.server)
    assert set(re.findall(r"\bconnection\.(\w+)", source)) == {"shutdown"}
    made = source.partition("config.http_protocol_class(")[2].partition(")")[0]
    assert re.findall(r"(\w+)=", made) == ["config", "server_state", "app_state", "_loop"]
    assert set(vars(ServerState())) == {
        "connections", "default_headers", "tasks", "total_requests",
    }  # fmt: skip
    # A change of the headers is a new list.
    assert re.findall(r"default_headers\W+=", source)
    assert not re.search(r"default_headers\.|default_headers\[", source)
