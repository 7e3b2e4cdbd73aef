"""What a hot handler sees of HTTP: plain values, no framework."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from msgspec import Struct, field

from hamlet.spi import counted


class Request(Struct):
    """A whole request. Header names are lower case; `args` are the parts of a templated path."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    id: str
    args: Mapping[str, str] = field(default_factory=dict)


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


class Opening(Struct):
    """An event stream that is not there yet.

    Until `ready` gives a Response or an EventStream nothing is sent; after the server's
    `header_wait_s` the status goes out, `keepalive` frames keep the line open, and a Response that
    still comes is an error and is turned into frames by `in_band`.
    """

    ready: Awaitable[Response | EventStream]
    keepalive: bytes
    in_band: Callable[[Response], bytes]
    headers: dict[str, str] = field(default_factory=dict)


Reply = Response | Opening
Handler = Callable[[Request], Awaitable[Reply]]


def budget_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that the caller gives the call, from `x-request-budget-ms`; None if none."""
    said = headers.get("x-request-budget-ms")
    given = counted(said) if said else None
    return given / 1000 if given else None
