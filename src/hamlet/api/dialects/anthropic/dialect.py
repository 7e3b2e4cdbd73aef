"""The Anthropic dialect."""

from __future__ import annotations

from hamlet.api.body import read_fields
from hamlet.api.dialects.anthropic.encode import EventEncoder, encode_message, sse_frame
from hamlet.api.dialects.anthropic.errors import error_body
from hamlet.api.dialects.anthropic.parse import parse
from hamlet.api.http import Request
from hamlet.core import ChatResponse
from hamlet.core.errors import HamletError
from hamlet.gateway import Call


class AnthropicDialect:
    """The Messages API, whole and streamed."""

    name = "anthropic"
    keepalive = sse_frame("ping", {})

    def parse(self, request: Request) -> Call:
        return parse(read_fields(request.body), request.id)

    def encode_response(self, response: ChatResponse) -> bytes:
        return encode_message(response)

    def new_encoder(self, call: Call) -> EventEncoder:
        return EventEncoder()

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, body: bytes) -> bytes:
        return b"event: error\ndata: " + body + b"\n\n"

    def id_headers(self, request_id: str) -> dict[str, str]:
        return {"request-id": request_id, "x-request-id": request_id}
