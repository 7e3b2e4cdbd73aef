"""Health and metrics endpoints, served by FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

RenderMetrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""Renders the metrics for an Accept header; returns the text and its content type."""


def health_router(is_ready: Callable[[], bool], metrics: RenderMetrics | None) -> APIRouter:
    """Liveness, readiness and, if given, metrics. The first two call no provider."""
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
