"""The cold routes: health, metrics, the page. FastAPI serves these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hamlet.api.dialects import dialect_of
from hamlet.api.dispatcher import HttpEndpoint, request_id_of
from hamlet.api.endpoints.chat import error_response
from hamlet.core.errors import HamletError


class PathNotFound(HamletError):
    """Nothing is served there."""

    status = 404
    code = "path_not_found"


class MethodNotAllowed(HamletError):
    """Something is served there, but not in this way."""

    status = 405
    code = "method_not_allowed"


RenderMetrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Gives the metrics' text and its content type for an Accept header."""


def health_router(is_ready: Callable[[], bool], metrics: RenderMetrics | None) -> APIRouter:
    """Liveness, readiness and perhaps metrics. Neither of the first two asks any provider."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="The process serves")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="The process wants traffic")
    async def readyz() -> JSONResponse:
        if is_ready():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "draining"}, 503)

    if metrics is not None:
        _add_metrics_endpoint(router, metrics)
    return router


def _add_metrics_endpoint(router: APIRouter, metrics: RenderMetrics) -> None:
    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def exposition(request: Request) -> Response:
        text, media_type = await metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})


def add_error_handlers(app: FastAPI, endpoints: Sequence[HttpEndpoint]) -> None:
    """Unknown paths, wrong methods and refused keys answer in the caller's dialect.

    `routes` are served elsewhere: here comes what asks for them in another way.
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
