"""One client's connection: requests in, one after the other, with limits and an end to waiting."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.net.server.disconnect import EXTENSION, DisconnectWatcher
from hamlet.net.server.flow_control import FlowControl
from hamlet.net.server.http_exchange import HttpExchange
from hamlet.net.server.memory_trim import MemoryTrim
from hamlet.net.server.response_head import STATUS_LINES, CommonHeaders

MAX_HEAD_BYTES, MAX_HEADERS = 64 << 10, 200
_MAX_UNSENT_BYTES = 8 << 10
# <linux/tcp.h>; Python 3.11 does not name it.
_TCP_NOTSENT_LOWAT = 25
_RESERVED_FILES = 32
_ASGI = {"version": "3.0", "spec_version": "2.3"}


@dataclass(frozen=True, slots=True)
class ConnectionTimeouts:
    """How long to wait for a client, in seconds: for a request's head, and for it to read on."""

    head_s: float = 10.0
    reader_stall_s: float = 30.0


RenderError = Callable[[int, str], bytes]
"""The JSON body of an error, from a status and a message: the dialect is the application's."""


def http_protocol(
    timeouts: ConnectionTimeouts, render_error: RenderError
) -> Callable[..., asyncio.Protocol]:
    """What uvicorn takes as its `http`."""
    return _ProtocolFactory(timeouts, render_error)


def max_client_connections() -> int:
    """How many clients the limit on open files allows, each with an upstream of its own.

    Lifts that limit as far as the system lets us.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(8, (hard - _RESERVED_FILES) // 2)


class _ProtocolFactory:
    """Makes the connections of one server, and holds what they share."""

    def __init__(self, timeouts: ConnectionTimeouts, render_error: RenderError) -> None:
        self._timeouts, self._render_error = timeouts, render_error
        self._memory_trim = MemoryTrim()
        self._common_headers: CommonHeaders | None = None

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> HttpServerProtocol:
        if self._common_headers is None:
            self._common_headers = CommonHeaders(server_state)
        loop = _loop or asyncio.get_running_loop()
        return HttpServerProtocol(
            config,
            server_state,
            app_state,
            loop,
            self._timeouts,
            self._memory_trim,
            self._common_headers,
            self._render_error,
        )


class HttpServerProtocol(asyncio.Protocol):
    """HTTP/1.1 with a bounded head, and an end to waiting.

    A head must come within `head_s`, in MAX_HEAD_BYTES and MAX_HEADERS. Requests that come before
    their turn wait for it. The one timer is re-armed lazily: it bounds the head that is coming, or
    the silence between requests.
    """

    __slots__ = (
        "_app",
        "_app_state",
        "_client",
        "_common_headers",
        "_disconnect_watcher",
        "_due",
        "_expects_continue",
        "_extensions",
        "_first_read_bytes",
        "_flow_control",
        "_head_bytes",
        "_head_too_large",
        "_headers",
        "_in_head",
        "_keep_alive_s",
        "_loop",
        "_max_concurrency",
        "_memory_trim",
        "_parser",
        "_pending",
        "_read_bytes",
        "_receiving",
        "_render_error",
        "_scheme",
        "_server",
        "_server_state",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_transport",
        "_url",
    )  # fmt: skip

    _flow_control: FlowControl
    _transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        timeouts: ConnectionTimeouts,
        memory_trim: MemoryTrim,
        common_headers: CommonHeaders,
        render_error: RenderError,
    ) -> None:
        self._render_error = render_error
        self._app = cast(ASGI, config.loaded_app)
        self._max_concurrency, self._keep_alive_s = (
            config.limit_concurrency,
            config.timeout_keep_alive,
        )
        self._server_state, self._app_state, self._loop = server_state, app_state, loop
        self._timeouts, self._memory_trim, self._common_headers = (
            timeouts,
            memory_trim,
            common_headers,
        )
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # The first of what was pipelined is answered even if it closes the connection.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._timer_at = 0.0
        self._disconnect_watcher = DisconnectWatcher()
        self._extensions: dict[str, dict[object, object]] = {
            EXTENSION: {"client": self._disconnect_watcher}
        }
        # Requests that are not answered yet, and the one whose body is still coming.
        self._pending: list[HttpExchange] = []
        self._receiving: HttpExchange | None = None
        self._in_head = self._head_too_large = False
        # What this read brings, that in which the head began (with other things perhaps), and all
        # between.
        self._read_bytes = self._first_read_bytes = self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False

    # -- for the server

    def shutdown(self) -> None:
        """Close once what was asked is answered."""
        if self._pending:
            self._pending[-1].keep_alive = False
        else:
            self._close()

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport is one by shape alone.
        self._transport = typed_transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(cast(Any, self))
        self._memory_trim.on_connect()
        self._flow_control = FlowControl(typed_transport, self._loop, self._timeouts.reader_stall_s)
        self._server, self._client = (
            get_local_addr(typed_transport),
            get_remote_addr(typed_transport),
        )
        self._scheme = "https" if is_ssl(typed_transport) else "http"
        typed_transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        _configure_socket(typed_transport.get_extra_info("socket"))
        self._set_timeout(self._timeouts.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(cast(Any, self))
        if self._timer is not None:
            self._timer.cancel()
        self._memory_trim.on_disconnect(self._loop)
        self._disconnect_watcher.mark_disconnected()
        for exchange in self._pending:
            exchange.on_disconnect()
        self._flow_control.resume_writing()
        # They know one another: nothing is to wait for the collector.
        self._pending, self._receiving, self._parser = [], None, None

    def pause_writing(self) -> None:
        self._flow_control.pause_writing()

    def resume_writing(self) -> None:
        self._flow_control.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            return
        was_in_head, self._read_bytes = self._in_head, len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is spoken here but HTTP/1.1: the request is served, and the wish passed over.
            pass
        except httptools.HttpParserError:
            return self._reject("Invalid HTTP request received.")
        if self._in_head:
            if was_in_head:
                self._head_bytes += len(data)
            else:
                self._set_timeout(self._timeouts.head_s)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_too_large = True
                self._reject("the head of the request is too large")
        elif self._receiving is not None and not self._pending:
            self._set_timeout(self._keep_alive_s)

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._first_read_bytes = True, 0, self._read_bytes
        self._url, self._headers, self._expects_continue = b"", [], False
        self._disconnect_watcher.request_complete = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # A trailer: nobody asks for those, so none is kept.
            return
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        self._check_head_size()
        self._in_head = False
        parser = self._parser
        assert parser is not None
        version = parser.get_http_version()
        exchange = HttpExchange(
            self._scope(parser.get_method().decode("ascii"), version),
            self._transport,
            self._flow_control,
            self._common_headers,
            self._on_response_complete,
            expects_continue=self._expects_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        # Who idles keeps none.
        self._url, self._headers = b"", []
        self._receiving = exchange
        self._pending.append(exchange)
        if len(self._pending) == 1:
            self._start_exchange(exchange)
        else:
            self._flow_control.pause_reading()

    def on_body(self, body: bytes) -> None:
        # What is answered already needs no more of its body.
        if self._receiving is not None and not self._receiving.complete:
            self._receiving.feed_body(body)

    def on_message_complete(self) -> None:
        self._disconnect_watcher.request_complete = True
        if self._receiving is not None:
            self._receiving.finish_body()
            self._receiving = None

    # -- inside

    def _scope(self, method: str, version: str) -> Scope:
        if self._url.startswith(b"/"):
            raw_path, _, query = self._url.partition(b"#")[0].partition(b"?")
        else:
            url = httptools.parse_url(self._url)
            raw_path, query = url.path, url.query or b""
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": method,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
            "extensions": self._extensions,
        }

    def _check_head_size(self) -> None:
        """Raise ValueError if the head has too many bytes or fields."""
        # Hardly any can be too large, so that few are measured.
        upper_bound_bytes = self._first_read_bytes + self._head_bytes + self._read_bytes
        large = (
            upper_bound_bytes > MAX_HEAD_BYTES
            and len(self._url) + sum(len(name) + len(value) for name, value in self._headers)
            > MAX_HEAD_BYTES
        )
        if large or len(self._headers) > MAX_HEADERS:
            self._head_too_large = True
            raise ValueError("the head of the request is too large")

    def _start_exchange(self, exchange: HttpExchange) -> None:
        connections, tasks, limit = (
            self._server_state.connections,
            self._server_state.tasks,
            self._max_concurrency,
        )
        full = limit is not None and (len(connections) >= limit or len(tasks) >= limit)
        task = self._loop.create_task(exchange.run(self._refuse_full if full else self._app))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _on_response_complete(self) -> None:
        self._server_state.total_requests += 1
        self._pending.pop(0)
        if self._transport.is_closing():
            return self._flow_control.watch_stall()
        if self._flow_control.read_paused:
            self._flow_control.resume_reading()
        if self._pending:
            self._start_exchange(self._pending[0])
        else:
            self._set_timeout(self._timeouts.head_s if self._in_head else self._keep_alive_s)

    def _set_timeout(self, timeout_s: float) -> None:
        """Bound the wait for what the client is to send next."""
        self._due = self._loop.time() + timeout_s
        if self._timer is None or self._due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = self._due
            self._timer = self._loop.call_at(self._due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._pending or self._transport.is_closing():
            return
        if self._loop.time() < self._due:
            self._timer_at = self._due
            self._timer = self._loop.call_at(self._due, self._on_timer)
        elif self._in_head:
            self._send_error(408, "the request came too slowly")
        else:
            self._close()

    def _reject(self, message: str) -> None:
        self._send_error(431 if self._head_too_large else 400, message)

    def _send_error(self, status: int, message: str) -> None:
        body = self._render_error(status, message)
        head = (
            b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        # Not into the middle of an answer.
        if not (self._pending and self._pending[0].is_partially_sent):
            self._transport.write(STATUS_LINES[status] + head % len(body) + body)
        self._close()

    async def _refuse_full(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The response when there are as many connections as there may be."""
        body = self._render_error(503, "hamlet has too many connections; please try again")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"retry-after", b"1"),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _close(self) -> None:
        self._transport.close()
        # Closing waits for what is not sent yet, which may be for ever.
        self._flow_control.watch_stall()


def _configure_socket(sock: socket.socket | None) -> None:
    """Send at once, and let little wait in the kernel for a client that does not read."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        # asyncio sets this on sockets that say they are TCP; what accept() gives says nothing.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
