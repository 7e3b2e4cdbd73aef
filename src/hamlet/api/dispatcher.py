"""Dispatching requests to endpoints: plain ASGI in front of FastAPI, by one dictionary look-up."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from hamlet.api.http import Handler, HandlerResult, PendingStream, Request, Response
from hamlet.api.streaming import StreamTimings, response_headers, send_pending_stream, send_response
from hamlet.core.errors import BadRequest, Draining, HamletError, SlowRequest, TooLarge
from hamlet.core.trace import start_trace
from hamlet.net.server.asgi import ASGI, Message, Receive, Scope, Send
from hamlet.net.server.disconnect import DisconnectWatcher, disconnect_watcher_of
from hamlet.net.server.http_exchange import HttpExchange, direct_exchange
from hamlet.spi import Deadline, Log

_DISCARD_BYTES, _DISCARD_S = 256 << 20, 10.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """One endpoint that the dispatcher serves.

    A path may have one `{name}`. `render_error` renders errors in the endpoint's dialect.
    `openapi_operation` builds the OpenAPI operation, on demand.
    """

    method: str
    path: str
    handler: Handler
    render_error: Callable[[HamletError, str], Response]
    openapi_operation: Callable[[], Mapping[str, Any]] = dict


class Dispatcher:
    """Serves `endpoints` and passes every other request to `app`."""

    def __init__(
        self,
        app: ASGI,
        endpoints: Sequence[HttpEndpoint],
        *,
        max_body_bytes: int,
        timings: StreamTimings,
        log: Log,
        body_timeout_s: float = 60.0,
        on_response: Callable[[str, int], None] = lambda path, code: None,
    ) -> None:
        """`on_response` is called with each response's path template and status."""
        self._on_response = on_response
        self._app = app
        self._exact_paths = {(r.method, r.path): r for r in endpoints if "{" not in r.path}
        self._templated_paths = [(r, _path_pattern(r.path)) for r in endpoints if "{" in r.path]
        self._max_body_bytes = max_body_bytes
        self._timings = timings
        self._body_timeout_s = body_timeout_s
        self._log = log
        self._in_flight: set[_InFlight] = set()

    def end_all(self) -> int:
        """End every call in flight, streams with an in-band error; returns how many."""
        for call in self._in_flight:
            call.end()
        return len(self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._match(scope) if scope["type"] == "http" else None
        if found is None:
            return await self._app(scope, receive, send)
        endpoint, path_params = found
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        trace = start_trace(headers.get("traceparent"))
        request_id = request_id_of(headers, trace.trace_id)
        exchange = direct_exchange(receive, send)
        guard = _ResponseGuard(send, self._on_response, endpoint.path, exchange)
        watcher = disconnect_watcher_of(scope, receive)
        try:
            body = None
            if exchange is not None and "content-encoding" not in headers:
                body = exchange.body_if_complete(self._max_body_bytes)
            if body is None:
                timeout_s = None if watcher.request_complete else self._body_timeout_s
                body = await _read_body(receive, headers, self._max_body_bytes, timeout_s)
        except ConnectionResetError:
            return None
        except HamletError as error:
            response = endpoint.render_error(error, request_id)
            # The rest of the body is still arriving: this connection cannot be used again.
            response.headers["connection"] = "close"
            return await guard.respond(response)
        request = Request(
            endpoint.method,
            scope["path"],
            _query_params(scope) if scope["query_string"] else {},
            headers,
            body,
            request_id,
            path_params,
        )
        del body
        try:
            await self._serve(endpoint, request, watcher, guard)
        except Exception as error:
            self._log.error("request.failed", request_id=request_id, exc_info=error)
            if not guard.started:
                await guard.respond(
                    endpoint.render_error(HamletError("internal error"), request_id)
                )

    def find_endpoint(self, method: str, path: str) -> HttpEndpoint | None:
        """The endpoint of a request, if there is one."""
        found = self._match({"method": method, "path": path})
        return found[0] if found else None

    def _match(self, scope: Scope) -> tuple[HttpEndpoint, Mapping[str, str]] | None:
        method, path = scope["method"], scope["path"]
        if endpoint := self._exact_paths.get((method, path)):
            return endpoint, {}
        for endpoint, pattern in self._templated_paths:
            if endpoint.method == method and (match := pattern.fullmatch(path)):
                return endpoint, match.groupdict()
        return None

    async def _serve(
        self,
        endpoint: HttpEndpoint,
        request: Request,
        watcher: DisconnectWatcher,
        guard: _ResponseGuard,
    ) -> None:
        """Run the handler and send its response, until the client disconnects or hamlet stops."""
        task = asyncio.current_task()
        assert task is not None
        call, reply = _InFlight(task, watcher, self._in_flight), None
        call.register()
        try:
            reply = await endpoint.handler(request)
            if isinstance(reply, PendingStream):
                await send_pending_stream(guard, reply, self._timings, call.finish)
            else:
                call.finish()
                await guard.respond(reply)
        except asyncio.CancelledError:
            # A cancellation from elsewhere takes precedence over these two.
            ours = call.disconnected + call.ended_by_server
            if not ours or [task.uncancel() for _ in range(ours)][-1] > 0:
                raise
            if call.ended_by_server and not call.disconnected:
                await _send_draining_error(guard, endpoint, request, reply)
        finally:
            if not call.finished:
                call.finish()


async def _send_draining_error(
    guard: _ResponseGuard, endpoint: HttpEndpoint, request: Request, reply: HandlerResult | None
) -> None:
    """Report that hamlet stops, so that no client takes a truncated response for a whole one."""
    error = Draining("hamlet is shutting down; please try again", retry_after=1.0)
    response = endpoint.render_error(error, request.id)
    if not guard.started:
        return await guard.respond(response)
    if isinstance(reply, PendingStream):
        frames = reply.error_frames(response)
        await guard({"type": "http.response.body", "body": frames, "more_body": False})


class _InFlight(Struct, eq=False):
    """A call in flight, and why it was cancelled if it was."""

    task: asyncio.Task[Any]
    watcher: DisconnectWatcher
    in_flight: set[_InFlight]
    disconnected: bool = False
    ended_by_server: bool = False
    finished: bool = False

    def register(self) -> None:
        """Add the call to those in flight, and watch for its client's disconnect."""
        self.watcher.subscribe(self.on_disconnect)
        self.in_flight.add(self)

    def finish(self) -> None:
        """Stop watching: the last message of the response is being sent."""
        self.finished = True
        self.watcher.unsubscribe()
        self.in_flight.discard(self)

    def on_disconnect(self) -> None:
        """Cancel the call because its client has disconnected."""
        self.disconnected = True
        self.task.cancel()

    def end(self) -> None:
        """Cancel the call because hamlet stops."""
        self.ended_by_server = True
        self.task.cancel()


class _ResponseGuard:
    """Counts a response, and records that it has started: no other can be sent after that."""

    __slots__ = ("_exchange", "_on_response", "_path", "_send", "started")

    def __init__(
        self,
        send: Send,
        on_response: Callable[[str, int], None],
        path: str,
        exchange: HttpExchange | None,
    ) -> None:
        """`exchange` is the one that `send` belongs to, if no middleware wraps it."""
        self._send, self._on_response, self._path, self._exchange = (
            send,
            on_response,
            path,
            exchange,
        )
        self.started = False

    async def respond(self, response: Response) -> None:
        """Send a whole response: directly, or as ASGI messages where a middleware needs those."""
        exchange, headers = self._exchange, response_headers(response)
        if exchange is None or not exchange.try_respond(response.status, headers, response.body):
            return await send_response(self, response)
        self.started = True
        self._on_response(self._path, response.status)

    def __call__(self, message: Message) -> Awaitable[None]:
        if not self.started:
            self.started = True
            self._on_response(self._path, message["status"])
        return self._send(message)


def request_id_of(headers: Mapping[str, str], trace_id: str = "") -> str:
    """The caller's request id if it is well-formed, else a new one.

    The new one is the trace's id, unless the caller began the trace: that may have many requests.
    """
    given = headers.get("x-request-id", "")
    if given and _REQUEST_ID.match(given):
        return given
    fresh = trace_id if trace_id and "traceparent" not in headers else secrets.token_hex(12)
    return f"req_{fresh[:24]}"


def _path_pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _query_params(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1")))


async def _read_body(
    receive: Receive, headers: Mapping[str, str], max_bytes: int, timeout_s: float | None
) -> bytes:
    """The whole body. Raises ConnectionResetError, or the HamletError to respond with.

    `timeout_s` is None if all of it has arrived already.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        await _discard_body(receive, headers)
        raise TooLarge(f"the body is over {max_bytes} bytes")
    if headers.get("content-encoding", "identity") != "identity":
        await _discard_body(receive, headers)
        raise BadRequest("a compressed body is not taken")
    if timeout_s is None:
        body = await _collect_body(receive, max_bytes)
    else:
        try:
            with Deadline(timeout_s):
                body = await _collect_body(receive, max_bytes)
        except TimeoutError:
            raise SlowRequest(f"the body did not come within {timeout_s:g} s") from None
    if body is None:
        await _discard_body(receive, headers)
        raise TooLarge(f"the body is over {max_bytes} bytes")
    return body


async def _collect_body(receive: Receive, max_bytes: int) -> bytes | None:
    """The parts of a body, joined; None if they exceed the limit."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard_body(receive: Receive, headers: Mapping[str, str]) -> None:
    """Read and drop what the client still sends, within limits.

    Closing on a client that still writes resets the connection, and the response is lost with it.
    """
    if headers.get("expect", "").lower() == "100-continue":
        return
    size = 0
    try:
        async with asyncio.timeout(_DISCARD_S):
            while size < _DISCARD_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
