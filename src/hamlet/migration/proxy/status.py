"""The admin endpoint that reports a replica's rollout state and evidence."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from hamlet.migration.feature import FeatureSet
from hamlet.migration.guardrail_monitor import GuardrailMonitor
from hamlet.migration.local_state import LocalRolloutState


def cutover_status_router(
    local_state: LocalRolloutState, features: FeatureSet, guardrail_monitor: GuardrailMonitor
) -> APIRouter:
    """GET /v1/admin/cutover: every feature's state here, and the evidence since its transition."""
    router = APIRouter(tags=["administration"])

    @router.get("/cutover", summary="The rollout state of every feature, and the evidence about it")
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
