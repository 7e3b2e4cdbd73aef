"""The cold routes: health, metrics, the page. FastAPI serves these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hamlet.api.dialects import dialect_of
from hamlet.api.dispatcher import HotRoute, request_id_of
from hamlet.api.endpoints.chat import refusal
from hamlet.core.errors import HamletError


class PathNotFound(HamletError):
    """Nothing is served there."""

    status = 404
    code = "path_not_found"


class MethodNotAllowed(HamletError):
    """Something is served there, but not in this way."""

    status = 405
    code = "method_not_allowed"


Expose = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Gives the metrics' text and its content type for an Accept header."""


def health(ready: Callable[[], bool], metrics: Expose | None) -> APIRouter:
    """Liveness, readiness and perhaps metrics. Neither of the first two asks any provider."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="The process serves")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="The process wants traffic")
    async def readyz() -> JSONResponse:
        if ready():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "draining"}, 503)

    if metrics is not None:
        _exposed(router, metrics)
    return router


def _exposed(router: APIRouter, metrics: Expose) -> None:
    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def exposition(request: Request) -> Response:
        text, media_type = await metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})


def dialect_errors(app: FastAPI, routes: Sequence[HotRoute]) -> None:
    """Unknown paths, wrong methods and refused keys answer in the caller's dialect.

    `routes` are served elsewhere: here comes what asks for them in another way.
    """

    async def not_there(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        where = request.url.path
        served = [route.method for route in routes if route.path == where]
        allow = ", ".join(served) or (error.headers or {}).get("Allow", "")
        if not allow:
            return _refusal(request, PathNotFound(f"nothing is served at {where}"))
        wrong = MethodNotAllowed(f"{where} does not take {request.method}")
        return _refusal(request, wrong, {"allow": allow})

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HamletError)
        return _refusal(request, error)

    app.add_exception_handler(HTTPException, not_there)
    app.add_exception_handler(HamletError, refused)


def _refusal(request: Request, error: HamletError, headers: Mapping[str, str] = {}) -> Response:
    told = refusal(dialect_of(request.headers), error, request_id_of(request.headers))
    return Response(told.body, told.status, {**headers, **told.headers}, media_type=told.media_type)
