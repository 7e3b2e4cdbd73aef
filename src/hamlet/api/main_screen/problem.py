"""Errors of the main screen, as RFC 9457 problem documents."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from hamlet.api.errors import error_headers
from hamlet.api.http import Response
from hamlet.core.errors import HamletError

_SLUGS = {
    400: "invalid-json",
    401: "unauthorised",
    403: "forbidden",
    404: "not-found",
    413: "too-large",
    422: "validation",
    429: "rate-limited",
    503: "not-ready",
}


def problem(error: HamletError, request_id: str) -> Response:
    """The document for one of hamlet's errors."""
    body = _document(error.status, error.message, request_id)
    headers = error_headers(error) | {"x-request-id": request_id}
    return Response(error.status, orjson.dumps(body), headers, "application/problem+json")


def invalid(error: ValidationError, request_id: str) -> Response:
    """422 with a pointer to everything that is wrong."""
    faults = [
        {"pointer": "/" + "/".join(map(str, e["loc"])), "code": e["type"], "detail": e["msg"]}
        for e in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    body = _document(422, "the request has invalid fields", request_id) | {"errors": faults}
    headers = {"x-request-id": request_id, "cache-control": "no-store"}
    return Response(422, orjson.dumps(body), headers, "application/problem+json")


def _document(status: int, detail: str, request_id: str) -> dict[str, Any]:
    slug = _SLUGS.get(status, "internal")
    return {
        "type": f"/problems/{slug}",
        "title": slug.replace("-", " "),
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
