"""The hot routes: plain ASGI in front of FastAPI, one dictionary look-up away."""

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
    """One hot endpoint.

    A path may have one `{name}`; `refuse` shapes errors of the protocol; `operation` gives what
    OpenAPI says of it, which is put together when somebody asks.
    """

    method: str
    path: str
    handler: Handler
    render_error: Callable[[HamletError, str], Response]
    openapi_operation: Callable[[], Mapping[str, Any]] = dict


class Dispatcher:
    """Dispatches hot routes and passes everything else on to `app`."""

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
        """`heard` is told each answer's path template and status."""
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
        """End every call under way, streams with an error in-band; returns how many."""
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
            # The rest of the body is still on its way: this connection cannot be used again.
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
        """The hot route of a request, if it has one."""
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
        """Race the handler and its answer against the client going away, and hamlet's own end."""
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
            # Whoever else cancels this counts for more than the two of us.
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
    """Tell of hamlet's own end, so that no one takes a cut answer for a whole one."""
    error = Draining("hamlet is shutting down; please try again", retry_after=1.0)
    response = endpoint.render_error(error, request.id)
    if not guard.started:
        return await guard.respond(response)
    if isinstance(reply, PendingStream):
        frames = reply.error_frames(response)
        await guard({"type": "http.response.body", "body": frames, "more_body": False})


class _InFlight(Struct, eq=False):
    """A call, and what may end it before its time."""

    task: asyncio.Task[Any]
    watcher: DisconnectWatcher
    in_flight: set[_InFlight]
    disconnected: bool = False
    ended_by_server: bool = False
    finished: bool = False

    def register(self) -> None:
        """It is under way."""
        self.watcher.subscribe(self.on_disconnect)
        self.in_flight.add(self)

    def finish(self) -> None:
        """Its last word is on the way: nothing is to stop that."""
        self.finished = True
        self.watcher.unsubscribe()
        self.in_flight.discard(self)

    def on_disconnect(self) -> None:
        """Its client has gone."""
        self.disconnected = True
        self.task.cancel()

    def end(self) -> None:
        """hamlet ends it."""
        self.ended_by_server = True
        self.task.cancel()


class _ResponseGuard:
    """Counts an answer, and remembers that it has begun: then no other can be sent."""

    __slots__ = ("_exchange", "_on_response", "_path", "_send", "started")

    def __init__(
        self,
        send: Send,
        on_response: Callable[[str, int], None],
        path: str,
        exchange: HttpExchange | None,
    ) -> None:
        """`cycle` is what `send` belongs to, if nobody stands between."""
        self._send, self._on_response, self._path, self._exchange = (
            send,
            on_response,
            path,
            exchange,
        )
        self.started = False

    async def respond(self, response: Response) -> None:
        """Send a whole answer: at once, or by messages where somebody wants to see those."""
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
    """The caller's own request id if it is a tidy one, else a new one.

    A trace that began here gives its id; one that the caller began may have many requests.
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
    """The whole body. Raises ConnectionResetError, or what is to be told to the client.

    `within_s` is None where all of it is here already.
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
    """The parts of a body together; None if they are over the limit."""
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
    """Let the client finish what it sends, within reason.

    Closing on a client that still writes resets the connection, and the answer is lost with it.
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
