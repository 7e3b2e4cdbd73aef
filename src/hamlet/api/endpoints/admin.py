"""The admin API. Needs an admin key, or a loopback client if no keys are configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from hamlet.api.auth import Keyring
from hamlet.config import ConfigError
from hamlet.core.errors import Forbidden, RouteNotFound
from hamlet.registry import Route
from hamlet.routing import CostEstimate, LoadBalancer, explain_selection

_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class AdminContext:
    """What the admin endpoints act on."""

    keyring: Callable[[], Keyring]
    reload: Callable[[], Awaitable[None]]
    load_balancer: LoadBalancer
    routes: Callable[[], Mapping[str, Route]]


def admin_router(context: AdminContext, *extra_routers: APIRouter) -> APIRouter:
    """The endpoints under `/v1/admin`, with those of other packages."""

    def require_admin(request: Request) -> None:
        keyring = context.keyring()
        caller = keyring.authenticate(request.headers)
        is_loopback = request.client is not None and request.client.host in _LOOPBACK
        if not (caller.admin or (keyring.is_empty and is_loopback)):
            raise Forbidden("an admin key is needed")

    router = APIRouter(
        tags=["administration"], prefix="/v1/admin", dependencies=[Depends(require_admin)]
    )
    _add_operations_endpoints(router, context)
    _add_fleet_endpoints(router, context)
    for extra in extra_routers:
        router.include_router(extra)
    return router


def _add_operations_endpoints(router: APIRouter, context: AdminContext) -> None:
    @router.post("/reload", summary="Read the configuration and the packs again")
    async def reload_config() -> JSONResponse:
        try:
            await context.reload()
        except ConfigError as error:
            problems = [
                {"path": p.path, "line": p.line, "message": p.message} for p in error.problems
            ]
            return JSONResponse({"status": "refused", "problems": problems}, 422)
        return JSONResponse({"status": "ok"})


def _add_fleet_endpoints(router: APIRouter, context: AdminContext) -> None:
    @router.get("/fleet", summary="The plan of a call to each chat route now, and why")
    async def plans(
        route: str | None = None,
        input_tokens: Annotated[int, Query(ge=0, le=10_000_000)] = 1000,
        output_tokens: Annotated[int, Query(ge=0, le=1_000_000)] = 300,
        stream: bool = True,
    ) -> JSONResponse:
        routes = {n: r for n, r in context.routes().items() if r.operation == "chat"}
        if route is not None and route not in routes:
            raise RouteNotFound(f"no such chat route: {route}", param="route")
        explanations = {
            name: [asdict(row) for row in explain_selection(context.load_balancer, found, estimate)]
            for name, found in routes.items()
            if route in (None, name)
            for estimate in [
                CostEstimate(input_tokens, output_tokens, output_tokens, stream, found.sheddable)
            ]
        }
        return JSONResponse(explanations)
