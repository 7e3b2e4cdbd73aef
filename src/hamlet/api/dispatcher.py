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

from hamlet.api.http import Handler, Opening, Reply, Request, Response
from hamlet.api.streaming import Pacing, send_opening, send_response, whole_headers
from hamlet.core.errors import BadRequest, Draining, HamletError, SlowRequest, TooLarge
from hamlet.core.trace import begin_trace
from hamlet.net.server.asgi import ASGI, Message, Receive, Scope, Send
from hamlet.net.server.disconnect import Presence, presence_of
from hamlet.net.server.exchange import Cycle, straight
from hamlet.spi import Deadline, Log

_DISCARD_BYTES, _DISCARD_S = 256 << 20, 10.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class HotRoute:
    """One hot endpoint.

    A path may have one `{name}`; `refuse` shapes errors of the protocol; `operation` gives what
    OpenAPI says of it, which is put together when somebody asks.
    """

    method: str
    path: str
    handler: Handler
    refuse: Callable[[HamletError, str], Response]
    operation: Callable[[], Mapping[str, Any]] = dict


class HotRoutes:
    """Dispatches hot routes and passes everything else on to `app`."""

    def __init__(
        self,
        app: ASGI,
        routes: Sequence[HotRoute],
        *,
        max_body_bytes: int,
        pacing: Pacing,
        log: Log,
        body_s: float = 60.0,
        heard: Callable[[str, int], None] = lambda path, code: None,
    ) -> None:
        """`heard` is told each answer's path template and status."""
        self._heard = heard
        self._app = app
        self._plain = {(r.method, r.path): r for r in routes if "{" not in r.path}
        self._templated = [(r, _pattern(r.path)) for r in routes if "{" in r.path]
        self._max_body_bytes = max_body_bytes
        self._pacing = pacing
        self._body_s = body_s
        self._log = log
        self._live: set[_Live] = set()

    def end_all(self) -> int:
        """End every call under way, streams with an error in-band; returns how many."""
        for live in self._live:
            live.end()
        return len(self._live)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            return await self._app(scope, receive, send)
        route, args = found
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        trace = begin_trace(headers.get("traceparent"))
        request_id = request_id_of(headers, trace.trace_id)
        cycle = straight(receive, send)
        sent = _Sent(send, self._heard, route.path, cycle)
        presence = presence_of(scope, receive)
        try:
            body = None
            if cycle is not None and "content-encoding" not in headers:
                body = cycle.take(self._max_body_bytes)
            if body is None:
                within_s = None if presence.sent_all else self._body_s
                body = await _read(receive, headers, self._max_body_bytes, within_s)
        except ConnectionResetError:
            return None
        except HamletError as error:
            response = route.refuse(error, request_id)
            # The rest of the body is still on its way: this connection cannot be used again.
            response.headers["connection"] = "close"
            return await sent.respond(response)
        request = Request(
            route.method,
            scope["path"],
            _query(scope) if scope["query_string"] else {},
            headers,
            body,
            request_id,
            args,
        )
        del body
        try:
            await self._serve(route, request, presence, sent)
        except Exception as error:
            self._log.error("request.failed", request_id=request_id, exc_info=error)
            if not sent.started:
                await sent.respond(route.refuse(HamletError("internal error"), request_id))

    def route(self, method: str, path: str) -> HotRoute | None:
        """The hot route of a request, if it has one."""
        found = self._find({"method": method, "path": path})
        return found[0] if found else None

    def _find(self, scope: Scope) -> tuple[HotRoute, Mapping[str, str]] | None:
        method, path = scope["method"], scope["path"]
        if route := self._plain.get((method, path)):
            return route, {}
        for route, pattern in self._templated:
            if route.method == method and (match := pattern.fullmatch(path)):
                return route, match.groupdict()
        return None

    async def _serve(
        self, route: HotRoute, request: Request, presence: Presence, send: _Sent
    ) -> None:
        """Race the handler and its answer against the client going away, and hamlet's own end."""
        work = asyncio.current_task()
        assert work is not None
        live, reply = _Live(work, presence, self._live), None
        live.begin()
        try:
            reply = await route.handler(request)
            if isinstance(reply, Opening):
                await send_opening(send, reply, self._pacing, live.finish)
            else:
                live.finish()
                await send.respond(reply)
        except asyncio.CancelledError:
            # Whoever else cancels this counts for more than the two of us.
            ours = live.gone + live.ending
            if not ours or [work.uncancel() for _ in range(ours)][-1] > 0:
                raise
            if live.ending and not live.gone:
                await _say_ended(send, route, request, reply)
        finally:
            if not live.over:
                live.finish()


async def _say_ended(send: _Sent, route: HotRoute, request: Request, reply: Reply | None) -> None:
    """Tell of hamlet's own end, so that no one takes a cut answer for a whole one."""
    error = Draining("hamlet is shutting down; please try again", retry_after=1.0)
    refusal = route.refuse(error, request.id)
    if not send.started:
        return await send.respond(refusal)
    if isinstance(reply, Opening):
        frames = reply.in_band(refusal)
        await send({"type": "http.response.body", "body": frames, "more_body": False})


class _Live(Struct, eq=False):
    """A call, and what may end it before its time."""

    task: asyncio.Task[Any]
    presence: Presence
    all: set[_Live]
    gone: bool = False
    ending: bool = False
    over: bool = False

    def begin(self) -> None:
        """It is under way."""
        self.presence.watch(self.leave)
        self.all.add(self)

    def finish(self) -> None:
        """Its last word is on the way: nothing is to stop that."""
        self.over = True
        self.presence.unwatch()
        self.all.discard(self)

    def leave(self) -> None:
        """Its client has gone."""
        self.gone = True
        self.task.cancel()

    def end(self) -> None:
        """hamlet ends it."""
        self.ending = True
        self.task.cancel()


class _Sent:
    """Counts an answer, and remembers that it has begun: then no other can be sent."""

    __slots__ = ("_cycle", "_heard", "_path", "_send", "started")

    def __init__(
        self, send: Send, heard: Callable[[str, int], None], path: str, cycle: Cycle | None
    ) -> None:
        """`cycle` is what `send` belongs to, if nobody stands between."""
        self._send, self._heard, self._path, self._cycle = send, heard, path, cycle
        self.started = False

    async def respond(self, response: Response) -> None:
        """Send a whole answer: at once, or by messages where somebody wants to see those."""
        cycle, headers = self._cycle, whole_headers(response)
        if cycle is None or not cycle.answer(response.status, headers, response.body):
            return await send_response(self, response)
        self.started = True
        self._heard(self._path, response.status)

    def __call__(self, message: Message) -> Awaitable[None]:
        if not self.started:
            self.started = True
            self._heard(self._path, message["status"])
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


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1")))


async def _read(
    receive: Receive, headers: Mapping[str, str], limit: int, within_s: float | None
) -> bytes:
    """The whole body. Raises ConnectionResetError, or what is to be told to the client.

    `within_s` is None where all of it is here already.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        await _discard(receive, headers)
        raise TooLarge(f"the body is over {limit} bytes")
    if headers.get("content-encoding", "identity") != "identity":
        await _discard(receive, headers)
        raise BadRequest("a compressed body is not taken")
    if within_s is None:
        body = await _gather(receive, limit)
    else:
        try:
            with Deadline(within_s):
                body = await _gather(receive, limit)
        except TimeoutError:
            raise SlowRequest(f"the body did not come within {within_s:g} s") from None
    if body is None:
        await _discard(receive, headers)
        raise TooLarge(f"the body is over {limit} bytes")
    return body


async def _gather(receive: Receive, limit: int) -> bytes | None:
    """The parts of a body together; None if they are over the limit."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard(receive: Receive, headers: Mapping[str, str]) -> None:
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
