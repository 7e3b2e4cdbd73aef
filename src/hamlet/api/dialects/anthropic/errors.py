"""Errors as Anthropic's API has them: https://docs.anthropic.com/en/api/errors"""

from __future__ import annotations

import orjson

from hamlet.core.errors import HamletError, Overloaded

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: HamletError, request_id: str) -> bytes:
    """The `error` envelope, with the request id and hamlet's own code."""
    # An interrupted stream names its cause: this API's clients handle this one case.
    busy = isinstance(error, Overloaded) or isinstance(error.__cause__, Overloaded)
    kind = "overloaded_error" if busy else _TYPES.get(error.status)
    return orjson.dumps(
        {
            "type": "error",
            "error": {
                "type": kind or "api_error",
                "message": error.message,
                "code": error.code,
            },
            "request_id": request_id,
        }
    )
