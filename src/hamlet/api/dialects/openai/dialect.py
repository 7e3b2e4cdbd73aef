"""The OpenAI dialect."""

from __future__ import annotations

from hamlet.api.body import read_fields
from hamlet.api.dialects.openai.encode import KEEPALIVE, ChunkEncoder, encode_completion
from hamlet.api.dialects.openai.errors import error_body
from hamlet.api.dialects.openai.parse import parse, wants_usage
from hamlet.api.http import Request
from hamlet.core import ChatResponse
from hamlet.core.errors import HamletError
from hamlet.gateway import Call


class OpenAIDialect:
    """The Chat Completions API, whole and streamed; also under Azure's paths."""

    name = "openai"
    keepalive = KEEPALIVE

    def parse(self, request: Request) -> Call:
        return parse(read_fields(request.body), request.id, request.path_params.get("deployment"))

    def encode_response(self, response: ChatResponse) -> bytes:
        return encode_completion(response)

    def new_encoder(self, call: Call) -> ChunkEncoder:
        return ChunkEncoder(with_usage=wants_usage(call))

    def error_body(self, error: HamletError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, body: bytes) -> bytes:
        return b"data: " + body + b"\n\n"

    def id_headers(self, request_id: str) -> dict[str, str]:
        return {"x-request-id": request_id}
