"""POST /v1/embeddings: https://platform.openai.com/docs/api-reference/embeddings"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson

from hamlet.api.auth import Keyring
from hamlet.api.body import Fields, decode, read_fields, require_field
from hamlet.api.dialects.base import error_response
from hamlet.api.dialects.openai.dialect import OpenAIDialect
from hamlet.api.http import Request, Response
from hamlet.core import EmbeddingRequest, EmbeddingResponse, unpack
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Gateway

_KNOWN_FIELDS = {"model", "input", "dimensions", "user", "encoding_format"}
_MAX_INPUTS = 2048
_DIALECT = OpenAIDialect()


class EmbeddingsEndpoint:
    """Serves embeddings; vectors are decoded only for callers who want floats."""

    def __init__(self, gateway: Gateway, keyring: Callable[[], Keyring]) -> None:
        self._gateway = gateway
        self._keyring = keyring

    async def __call__(self, request: Request) -> Response:
        try:
            caller = self._keyring().authenticate(request.headers)
            fields = read_fields(request.body)
            embedding_request = _parse(fields, request.path_params.get("deployment"))
            as_base64 = _wants_base64(fields)
            response = await self._gateway.embed(embedding_request, caller, request.id)
        except HamletError as error:
            return render_openai_error(error, request.id)
        return Response(200, _encode(response, as_base64), {"x-request-id": request.id})


def render_openai_error(error: HamletError, request_id: str) -> Response:
    """An error as OpenAI's API has it."""
    return error_response(_DIALECT, error, request_id)


def _parse(fields: Fields, model: str | None) -> EmbeddingRequest:
    texts = decode(require_field(fields, "input"), Any, "input")
    texts = [texts] if isinstance(texts, str) else texts
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise BadRequest("input: a text or a list of texts is needed", param="input")
    if not 1 <= len(texts) <= _MAX_INPUTS:
        raise BadRequest(f"input: from 1 to {_MAX_INPUTS} texts", param="input")
    return EmbeddingRequest(
        model=model or decode(require_field(fields, "model"), str, "model"),
        inputs=tuple(texts),
        dimensions=_decode_optional(fields, "dimensions", int | None),
        user=_decode_optional(fields, "user", str | None),
        extra={key: decode(fields[key], Any, key) for key in fields.keys() - _KNOWN_FIELDS},
    )


def _decode_optional(fields: Fields, name: str, kind: Any) -> Any:
    return decode(fields[name], kind, name) if name in fields else None


def _wants_base64(fields: Fields) -> bool:
    encoding = _decode_optional(fields, "encoding_format", str | None) or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest("encoding_format: float or base64", param="encoding_format")
    return bool(encoding == "base64")


def _encode(response: EmbeddingResponse, as_base64: bool) -> bytes:
    tokens = response.usage.input_tokens or 0
    rows = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(vector).decode() if as_base64 else unpack(vector),
        }
        for i, vector in enumerate(response.vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": response.model, "usage": usage})
