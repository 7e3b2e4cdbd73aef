"""Errors as OpenAI's API has them: https://platform.openai.com/docs/guides/error-codes"""

from __future__ import annotations

import secrets

import orjson

from hamlet.core.errors import BadRequest, Busy, HamletError, RequestError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(error: HamletError, request_id: str) -> bytes:
    """The `error` object, with the request id."""
    return orjson.dumps(
        {
            "error": {
                "message": error.message,
                "type": _TYPES.get(error.status, "upstream_error"),
                "param": error.param if isinstance(error, RequestError) else None,
                "code": error.code,
                "request_id": request_id,
            }
        }
    )


def render_error(status: int, message: str) -> bytes:
    """The body for a request that was refused before it reached an endpoint."""
    error = Busy(message) if status == 503 else BadRequest(message)
    return error_body(error, f"req_{secrets.token_hex(12)}")
