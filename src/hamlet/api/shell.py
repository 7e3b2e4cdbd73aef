"""The cold routes: health, metrics, the page. FastAPI serves these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from hamlet.api.errors import error_headers
from hamlet.api.hot import request_id_of
from hamlet.api.openai.errors import error_body
from hamlet.core.errors import HamletError, RouteNotFound

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


def dialect_errors(app: FastAPI) -> None:
    """Unknown paths and refused keys answer in OpenAI's shape, which most callers read."""

    async def not_there(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        family = RouteNotFound if error.status_code == 404 else HamletError
        wrapped = family(f"{request.method} {request.url.path}: {error.detail}")
        return _refusal(request, wrapped, error.status_code)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HamletError)
        return _refusal(request, error, error.status)

    app.add_exception_handler(HTTPException, not_there)
    app.add_exception_handler(HamletError, refused)


def _refusal(request: Request, error: HamletError, status: int) -> Response:
    request_id = request_id_of(request.headers)
    headers: dict[str, Any] = error_headers(error) | {"x-request-id": request_id}
    body = error_body(error, request_id)
    return Response(body, status, headers, media_type="application/json")
