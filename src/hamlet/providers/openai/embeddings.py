"""Embedding requests and responses: https://platform.openai.com/docs/api-reference/embeddings"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from hamlet.core import EmbeddingRequest, EmbeddingResponse, Usage, pack
from hamlet.core.errors import UpstreamProtocol
from hamlet.providers.openai.errors import in_band_error


def encode_embedding_request(request: EmbeddingRequest) -> dict[str, Any]:
    """The JSON object to send. Requests vectors as base64, which takes a third of the bytes."""
    sent: dict[str, Any] = {
        "model": request.model,
        "input": list(request.inputs),
        "encoding_format": "base64",
    }
    if request.dimensions is not None:
        sent["dimensions"] = request.dimensions
    if request.user is not None:
        sent["user"] = request.user
    return sent | dict(request.extra)


def decode_embedding_response(raw: bytes, request: EmbeddingRequest) -> EmbeddingResponse:
    """The vectors in input order. Raises ProviderError."""
    try:
        body = orjson.loads(raw)
        if "error" in body and "data" not in body:
            raise in_band_error(body)
        rows = sorted(body["data"], key=lambda row: row["index"])
        vectors = tuple(_decode_vector(row["embedding"]) for row in rows)
        usage = body.get("usage") or {}
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise UpstreamProtocol("the upstream's answer is not a list of embeddings") from None
    if len(vectors) != len(request.inputs):
        raise UpstreamProtocol("the upstream gave another number of vectors than inputs")
    counts = Usage(input_tokens=usage.get("prompt_tokens"), raw=usage)
    return EmbeddingResponse(body.get("model") or request.model, vectors, counts)


def _decode_vector(value: str | list[float]) -> bytes:
    # Not every compatible server supports base64.
    return base64.b64decode(value, validate=True) if isinstance(value, str) else pack(value)
