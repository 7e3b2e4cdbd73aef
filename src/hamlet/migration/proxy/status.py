"""What a replica says of the cutover, to those who may ask."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from hamlet.migration import FeatureSet, GuardrailMonitor, LocalRolloutState


def cutover_status_router(
    local_state: LocalRolloutState, features: FeatureSet, guardrail_monitor: GuardrailMonitor
) -> APIRouter:
    """GET /v1/admin/cutover: where features stand here, and what was seen since they came there."""
    router = APIRouter(tags=["administration"])

    @router.get("/cutover", summary="Where features stand, and what was seen of them")
    async def status() -> JSONResponse:
        payload: dict[str, Any] = {
            "epoch": local_state.document.epoch,
            "readable": local_state.is_readable,
            "clock": time.time(),
            "loop_lag_s": round(guardrail_monitor.loop_lag_s, 4),
            "features": {
                name: feature.status_snapshot(local_state.feature_state(name))
                for name, feature in features.by_name.items()
            },
        }
        return JSONResponse(payload)

    return router
