"""One client's connection: pipelined HTTP/1.1 requests, limits on their heads, timeouts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from hamlet.net.server.asgi import Scope
from hamlet.net.server.context import ConnectionTimeouts, RenderError, ServerContext
from hamlet.net.server.disconnect import EXTENSION, DisconnectWatcher
from hamlet.net.server.flow_control import FlowControl
from hamlet.net.server.http_exchange import HttpExchange
from hamlet.net.timers.lazy_timer import LazyTimer

MAX_HEAD_BYTES, MAX_HEADERS = 64 << 10, 200
_MAX_UNSENT_BYTES = 8 << 10
# <linux/tcp.h>; Python 3.11 does not name it.
_TCP_NOTSENT_LOWAT = 25
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def http_protocol(
    timeouts: ConnectionTimeouts, render_error: RenderError
) -> Callable[..., asyncio.Protocol]:
    """What uvicorn takes as its `http`."""
    return _ProtocolFactory(timeouts, render_error)


class _ProtocolFactory:
    """Makes the connections of one server."""

    def __init__(self, timeouts: ConnectionTimeouts, render_error: RenderError) -> None:
        self._timeouts, self._render_error = timeouts, render_error
        self._context: ServerContext | None = None

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> HttpServerProtocol:
        if self._context is None:
            self._context = ServerContext(config, server_state, self._timeouts, self._render_error)
        return HttpServerProtocol(self._context, app_state)


class HttpServerProtocol(LazyTimer, asyncio.Protocol):
    """HTTP/1.1 with a bounded head and bounded waits.

    A head must arrive within `head_s`, in MAX_HEAD_BYTES and MAX_HEADERS. Pipelined requests wait
    for their turn. The timer bounds the head that is arriving, or the silence between requests.
    """

    __slots__ = (
        "_app_state",
        "_client",
        "_context",
        "_disconnect_watcher",
        "_expects_continue",
        "_extensions",
        "_first_read_bytes",
        "_flow_control",
        "_head_bytes",
        "_head_too_large",
        "_headers",
        "_in_head",
        "_parser",
        "_pending",
        "_read_bytes",
        "_receiving",
        "_scheme",
        "_server",
        "_transport",
        "_url",
    )  # fmt: skip

    _flow_control: FlowControl
    _transport: asyncio.Transport

    def __init__(self, context: ServerContext, app_state: dict[str, Any]) -> None:
        super().__init__(context.wheel)
        self._context, self._app_state = context, app_state
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # The first of several pipelined requests is answered even if it closes the connection.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._disconnect_watcher = DisconnectWatcher()
        self._extensions: dict[str, dict[object, object]] = {
            EXTENSION: {"client": self._disconnect_watcher}
        }
        # Requests without a complete response, and the one whose body is still arriving.
        self._pending: list[HttpExchange] = []
        self._receiving: HttpExchange | None = None
        self._in_head = self._head_too_large = False
        # The size of this read, of the read in which the head began, and of the reads between.
        self._read_bytes = self._first_read_bytes = self._head_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False

    # -- for the server

    def shutdown(self) -> None:
        """Close the connection after the pending responses."""
        if self._pending:
            self._pending[-1].keep_alive = False
        else:
            self._close()

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        # uvloop's TLS transport has the methods of a Transport but is no instance of it.
        self._transport = connected = cast(asyncio.Transport, transport)
        context.state.connections.add(cast(Any, self))
        context.memory_trim.on_connect()
        self._flow_control = FlowControl(connected, context.wheel, context.timeouts.reader_stall_s)
        self._server, self._client = get_local_addr(connected), get_remote_addr(connected)
        self._scheme = "https" if is_ssl(connected) else "http"
        connected.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        _configure_socket(connected.get_extra_info("socket"))
        self.set_timeout(context.timeouts.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.state.connections.discard(cast(Any, self))
        self.cancel_timeout()
        self._context.memory_trim.on_disconnect()
        self._disconnect_watcher.mark_disconnected()
        for exchange in self._pending:
            exchange.on_disconnect()
        self._flow_control.resume_writing()
        # These refer to one another; cleared, they are freed without the garbage collector.
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
            # Only HTTP/1.1 is served here: the request is answered and the upgrade ignored.
            pass
        except httptools.HttpParserError:
            return self._reject("Invalid HTTP request received.")
        if self._in_head:
            if was_in_head:
                self._head_bytes += len(data)
            else:
                self.set_timeout(self._context.timeouts.head_s)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_too_large = True
                self._reject("the head of the request is too large")
        elif self._receiving is not None and not self._pending:
            self.set_timeout(self._context.keep_alive_s)

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._first_read_bytes = True, 0, self._read_bytes
        self._url, self._headers, self._expects_continue = b"", [], False
        self._disconnect_watcher.request_complete = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # A trailer: nothing reads those.
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
            self._context.common_headers,
            self._on_response_complete,
            expects_continue=self._expects_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        # An idle connection keeps no head.
        self._url, self._headers = b"", []
        self._receiving = exchange
        self._pending.append(exchange)
        if len(self._pending) == 1:
            self._start_exchange(exchange)
        else:
            self._flow_control.pause_reading()

    def on_body(self, body: bytes) -> None:
        # A request with a complete response needs no more of its body.
        if self._receiving is not None and not self._receiving.complete:
            self._receiving.feed_body(body)

    def on_message_complete(self) -> None:
        self._disconnect_watcher.request_complete = True
        if self._receiving is not None:
            self._receiving.finish_body()
            self._receiving = None

    # -- internal

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
        # Few heads can be too large by this bound, so few are measured.
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
        context = self._context
        limit, connections, tasks = (
            context.max_concurrency,
            context.state.connections,
            context.state.tasks,
        )
        is_full = limit is not None and (len(connections) >= limit or len(tasks) >= limit)
        app = context.refuse_full if is_full else context.app
        task = context.loop.create_task(exchange.run(app))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _on_response_complete(self) -> None:
        self._context.state.total_requests += 1
        self._pending.pop(0)
        if self._transport.is_closing():
            return self._flow_control.watch_stall()
        if self._flow_control.read_paused:
            self._flow_control.resume_reading()
        if self._pending:
            self._start_exchange(self._pending[0])
        else:
            context = self._context
            self.set_timeout(context.timeouts.head_s if self._in_head else context.keep_alive_s)

    def on_timeout(self) -> None:
        """The client has sent nothing for too long, unless it is the client that waits."""
        if self._pending or self._transport.is_closing():
            return
        if self._in_head:
            self._send_error(408, "the request came too slowly")
        else:
            self._close()

    def _reject(self, message: str) -> None:
        self._send_error(431 if self._head_too_large else 400, message)

    def _send_error(self, status: int, message: str) -> None:
        # Not into the middle of a response.
        if not (self._pending and self._pending[0].is_partially_sent):
            self._transport.write(self._context.error_response(status, message))
        self._close()

    def _close(self) -> None:
        self._transport.close()
        # Closing waits until everything is sent, which may be for ever.
        self._flow_control.watch_stall()


def _configure_socket(sock: socket.socket | None) -> None:
    """Send without delay, and leave little in the kernel for a client that does not read."""
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        # asyncio sets this only on sockets whose protocol is TCP; accept() leaves it at 0.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
