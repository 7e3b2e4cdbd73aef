"""POST /v1/embeddings: https://platform.openai.com/docs/api-reference/embeddings"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson

from hamlet.api.auth import Keyring
from hamlet.api.body import Fields, decode, needed, read_fields
from hamlet.api.dialects.openai.dialect import OpenAIDialect
from hamlet.api.endpoints.chat import refusal
from hamlet.api.http import Request, Response
from hamlet.core import EmbeddingRequest, EmbeddingResponse, unpack
from hamlet.core.errors import BadRequest, HamletError
from hamlet.gateway import Gateway

_KNOWN = {"model", "input", "dimensions", "user", "encoding_format"}
_MOST_INPUTS = 2048
_DIALECT = OpenAIDialect()


class EmbeddingsEndpoint:
    """Serves embeddings; floats are made only for callers who want floats."""

    def __init__(self, gateway: Gateway, keyring: Callable[[], Keyring]) -> None:
        self._gateway = gateway
        self._keyring = keyring

    async def __call__(self, request: Request) -> Response:
        try:
            caller = self._keyring().caller(request.headers)
            fields = read_fields(request.body)
            wanted = _parse(fields, request.args.get("deployment"))
            as_text = _as_base64(fields)
            answer = await self._gateway.embed(wanted, caller, request.id)
        except HamletError as error:
            return refuse(error, request.id)
        return Response(200, _encode(answer, as_text), {"x-request-id": request.id})


def refuse(error: HamletError, request_id: str) -> Response:
    """An error in OpenAI's shape."""
    return refusal(_DIALECT, error, request_id)


def _parse(fields: Fields, model: str | None) -> EmbeddingRequest:
    texts = decode(needed(fields, "input"), Any, "input")
    texts = [texts] if isinstance(texts, str) else texts
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise BadRequest("input: a text or a list of texts is needed", param="input")
    if not 1 <= len(texts) <= _MOST_INPUTS:
        raise BadRequest(f"input: from 1 to {_MOST_INPUTS} texts", param="input")
    return EmbeddingRequest(
        model=model or decode(needed(fields, "model"), str, "model"),
        inputs=tuple(texts),
        dimensions=_optional(fields, "dimensions", int | None),
        user=_optional(fields, "user", str | None),
        extra={key: decode(fields[key], Any, key) for key in fields.keys() - _KNOWN},
    )


def _optional(fields: Fields, name: str, kind: Any) -> Any:
    return decode(fields[name], kind, name) if name in fields else None


def _as_base64(fields: Fields) -> bool:
    wanted = _optional(fields, "encoding_format", str | None) or "float"
    if wanted not in ("float", "base64"):
        raise BadRequest("encoding_format: float or base64", param="encoding_format")
    return bool(wanted == "base64")


def _encode(answer: EmbeddingResponse, as_text: bool) -> bytes:
    tokens = answer.usage.input_tokens or 0
    rows = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(vector).decode() if as_text else unpack(vector),
        }
        for i, vector in enumerate(answer.vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": answer.model, "usage": usage})
