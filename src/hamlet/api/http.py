"""What an endpoint sees of HTTP: plain values, no framework."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from msgspec import Struct, field

from hamlet.spi import parse_positive_int


class Request(Struct):
    """A whole request. Header names are lower case; `path_params` come from a templated path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    id: str
    path_params: Mapping[str, str] = field(default_factory=dict)


class Response(Struct):
    """A whole response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


class EventStream(Struct):
    """An event stream: `frames` yields whole frames. The sender always awaits `close`."""

    frames: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]
    headers: dict[str, str] = field(default_factory=dict)


class PendingStream(Struct):
    """An event stream that is not ready yet.

    Nothing is sent until `ready` returns a Response or an EventStream, or until the server's
    `header_wait_s` has passed. After that the status is sent, `keepalive` frames keep the
    connection open, and a Response that `ready` returns is an error, sent as `error_frames`.
    """

    ready: Awaitable[Response | EventStream]
    keepalive: bytes
    error_frames: Callable[[Response], bytes]
    headers: dict[str, str] = field(default_factory=dict)


HandlerResult = Response | PendingStream
Handler = Callable[[Request], Awaitable[HandlerResult]]


def budget_s(headers: Mapping[str, str]) -> float | None:
    """The caller's time limit in seconds, from `x-request-budget-ms`; None without one."""
    value = headers.get("x-request-budget-ms")
    budget_ms = parse_positive_int(value) if value else None
    return budget_ms / 1000 if budget_ms else None
