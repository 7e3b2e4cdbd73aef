"""What a dialect is: one vendor's wire format, as hamlet speaks it to callers."""

from __future__ import annotations

from typing import Protocol

from hamlet.api.errors import error_headers
from hamlet.api.http import Request, Response
from hamlet.core import ChatEvent, ChatResponse
from hamlet.core.errors import HamletError
from hamlet.gateway import Call


class StreamEncoder(Protocol):
    """Turns the events of one response into server-sent frames."""

    def encode(self, event: ChatEvent) -> bytes:
        """The frames of this event, perhaps none."""
        ...


class Dialect(Protocol):
    """One wire format. Stateless; `keepalive` is a frame that clients ignore."""

    name: str
    keepalive: bytes

    def parse(self, request: Request) -> Call:
        """Read a request. Raises BadRequest."""
        ...

    def encode_response(self, response: ChatResponse) -> bytes:
        """The JSON body of a whole response."""
        ...

    def new_encoder(self, call: Call) -> StreamEncoder:
        """An encoder for one stream."""
        ...

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        """The JSON body of an error."""
        ...

    def error_frame(self, body: bytes) -> bytes:
        """The in-band frame of an error, from its body, for after the status has been sent."""
        ...

    def id_headers(self, request_id: str) -> dict[str, str]:
        """The headers that carry the request id."""
        ...


def error_response(dialect: Dialect, error: HamletError, request_id: str) -> Response:
    """An error as a whole response in a dialect."""
    headers = error_headers(error) | dialect.id_headers(request_id)
    return Response(error.status, dialect.error_body(error, request_id), headers)
