"""Error responses of what FastAPI serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hamlet.api.dialects import dialect_of
from hamlet.api.dialects.base import error_response
from hamlet.api.dispatcher import HttpEndpoint, request_id_of
from hamlet.core.errors import HamletError


class PathNotFound(HamletError):
    """Nothing is served at this path."""

    status = 404
    code = "path_not_found"


class MethodNotAllowed(HamletError):
    """The path is served, but not with this method."""

    status = 405
    code = "method_not_allowed"


def add_error_handlers(app: FastAPI, endpoints: Sequence[HttpEndpoint]) -> None:
    """Answer unknown paths, wrong methods and refused keys in the caller's dialect.

    The dispatcher serves `endpoints`; FastAPI sees their paths only with another method.
    """

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        allowed_methods = [route.method for route in endpoints if route.path == path]
        allow = ", ".join(allowed_methods) or (error.headers or {}).get("Allow", "")
        if not allow:
            return _error_response(request, PathNotFound(f"nothing is served at {path}"))
        wrong = MethodNotAllowed(f"{path} does not take {request.method}")
        return _error_response(request, wrong, {"allow": allow})

    async def on_hamlet_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HamletError)
        return _error_response(request, error)

    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(HamletError, on_hamlet_error)


def _error_response(
    request: Request, error: HamletError, headers: Mapping[str, str] = {}
) -> Response:
    rendered = error_response(dialect_of(request.headers), error, request_id_of(request.headers))
    return Response(
        rendered.body,
        rendered.status,
        {**headers, **rendered.headers},
        media_type=rendered.media_type,
    )
