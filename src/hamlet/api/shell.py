"""The cold routes: health, metrics, the page. FastAPI serves these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from hamlet.api.errors import error_headers
from hamlet.api.hot import request_id_of
from hamlet.api.openai.errors import error_body
from hamlet.core.errors import HamletError, RouteNotFound

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def health(ready: Callable[[], bool], metrics: Callable[[], Awaitable[bytes]]) -> APIRouter:
    """Liveness, readiness and metrics. Neither of the first two asks any provider."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="The process serves")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="The process wants traffic")
    async def readyz() -> JSONResponse:
        if ready():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "draining"}, 503)

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def exposition() -> Response:
        return Response(await metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


class _Static(StaticFiles):
    """Files of the page, under the page's own policy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_PAGE_HEADERS)
        return response


def page(app: FastAPI) -> None:
    """The demo page at `/`."""
    static = Path(str(resources.files("hamlet.api").joinpath("static")))
    index = (static / "index.html").read_text("utf-8")
    app.mount("/static", _Static(directory=static), name="static")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(index, headers=_PAGE_HEADERS)


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
