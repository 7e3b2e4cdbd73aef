"""What a hot handler sees of HTTP: plain values, no framework."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from msgspec import Struct, field

from hamlet.spi import parse_positive_int


class Request(Struct):
    """A whole request. Header names are lower case; `args` are the parts of a templated path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    id: str
    path_params: Mapping[str, str] = field(default_factory=dict)


class Response(Struct):
    """A whole answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


class EventStream(Struct):
    """A server-sent answer: `frames` yields whole frames. The sender always awaits `close`."""

    frames: AsyncGenerator[bytes, None]
    close: Callable[[], Awaitable[None]]
    headers: dict[str, str] = field(default_factory=dict)


class PendingStream(Struct):
    """An event stream that is not there yet.

    Until `ready` gives a Response or an EventStream nothing is sent; after the server's
    `header_wait_s` the status goes out, `keepalive` frames keep the line open, and a Response that
    still comes is an error and is turned into frames by `in_band`.
    """

    ready: Awaitable[Response | EventStream]
    keepalive: bytes
    error_frames: Callable[[Response], bytes]
    headers: dict[str, str] = field(default_factory=dict)


HandlerResult = Response | PendingStream
Handler = Callable[[Request], Awaitable[HandlerResult]]


def budget_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that the caller gives the call, from `x-request-budget-ms`; None if none."""
    value = headers.get("x-request-budget-ms")
    budget_ms = parse_positive_int(value) if value else None
    return budget_ms / 1000 if budget_ms else None
