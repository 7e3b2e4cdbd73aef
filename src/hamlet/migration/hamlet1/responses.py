"""What hamlet1's responses have in common: JSON format, errors and headers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from hamlet.api.auth import Keyring, presented_key
from hamlet.api.errors import error_headers
from hamlet.api.http import Request, Response
from hamlet.config import MAIN_SCREEN
from hamlet.core.errors import Draining, HamletError, ProviderError, RequestError
from hamlet.gateway import Caller

JSON = "application/json; charset=utf-8"
POWERED_BY_HEADERS = {"x-powered-by": "Hamlet/1"}
_ERROR_CODES = {401: "E_AUTH", 403: "E_AUTH", 404: "E_NOT_FOUND", 413: "E_TOO_LARGE", 429: "E_RATE"}


class InvalidJson(RequestError):
    """The body is not a JSON object."""

    code = "E_JSON"


def now_ms() -> int:
    """Unix time in milliseconds, as hamlet1 uses it."""
    return time.time_ns() // 1_000_000


def encode_line(value: Any) -> bytes:
    """JSON with hamlet1's trailing line break."""
    return orjson.dumps(value) + b"\n"


def json_response(value: Any, request_id: str, status: int = 200) -> Response:
    """A complete JSON response."""
    return Response(
        status, encode_line(value), POWERED_BY_HEADERS | {"x-request-id": request_id}, JSON
    )


def error_body(error: HamletError) -> bytes:
    """The body of an error response."""
    error_fields = {"code": _error_code(error), "msg": error.message}
    return encode_line({"ok": False, "error": error_fields, "ts": now_ms()})


def error_response(error: HamletError, request_id: str) -> Response:
    """An error response. Invalid requests get status 200, which existing frontends rely on."""
    headers = error_headers(error) | POWERED_BY_HEADERS | {"x-request-id": request_id}
    return Response(_error_status(error), error_body(error), headers, JSON)


def parse_fields(request: Request) -> Mapping[str, Any]:
    """The fields of a JSON body. Raises InvalidJson. As in JavaScript, a list has no fields."""
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidJson("the body is no JSON object") from None
    if not isinstance(body, (dict, list)):
        raise InvalidJson("the body is no JSON object")
    return body if isinstance(body, dict) else {}


def authenticate_or_default(keyring: Keyring, headers: Mapping[str, str], route: str) -> Caller:
    """The caller. hamlet1 had no keys, so without one only what it offered is allowed."""
    if presented_key(headers):
        return keyring.authenticate(headers)
    return keyring.map_caller(Caller("hamlet1", frozenset({route, MAIN_SCREEN})))


def _error_code(error: HamletError) -> str:
    if isinstance(error, InvalidJson):
        return error.code
    if error.status in _ERROR_CODES:
        return _ERROR_CODES[error.status]
    return "E_VALIDATION" if error.status == 400 and _is_own_error(error) else "E_UPSTREAM"


def _error_status(error: HamletError) -> int:
    if error.status == 400 and _is_own_error(error):
        return 200
    if isinstance(error, Draining) or error.status in (401, 403, 404, 413, 429):
        return error.status
    return 502


def _is_own_error(error: HamletError) -> bool:
    return not isinstance(error, ProviderError)
