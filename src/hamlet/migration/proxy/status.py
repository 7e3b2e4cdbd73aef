"""What a replica says of the cutover, to those who may ask."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from hamlet.migration import Features, View, Watch


def cutover_status(view: View, features: Features, watch: Watch) -> APIRouter:
    """GET /v1/admin/cutover: where features stand here, and what was seen since they came there."""
    router = APIRouter(tags=["administration"])

    @router.get("/cutover", summary="Where features stand, and what was seen of them")
    async def status() -> JSONResponse:
        told: dict[str, Any] = {
            "epoch": view.document.epoch,
            "readable": view.readable,
            "clock": time.time(),
            "loop_lag_s": round(watch.loop_lag_s, 4),
            "features": {
                name: feature.told(view.state(name)) for name, feature in features.all.items()
            },
        }
        return JSONResponse(told)

    return router
