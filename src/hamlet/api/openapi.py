"""One OpenAPI document for the hot routes and FastAPI's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from hamlet.api.hot import HotRoute

_JSON_OBJECT = {"content": {"application/json": {"schema": {"type": "object"}}}}


def document(app: FastAPI, routes: Sequence[HotRoute]) -> None:
    """Make `app.openapi()` tell of the hot routes too."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        paths = schema.setdefault("paths", {})
        for route in routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def operation(summary: str, tag: str, **more: Any) -> Mapping[str, Any]:
    """An OpenAPI operation with a JSON object as its body, unless `more` says otherwise."""
    return {"summary": summary, "tags": [tag], **more}


def _operation(route: HotRoute) -> dict[str, Any]:
    described = {
        "operationId": f"{route.method.lower()}_{route.path.strip('/').replace('/', '_')}",
        "responses": {"200": {"description": "OK", **_JSON_OBJECT}},
        **route.operation,
    }
    if route.method == "POST":
        described.setdefault("requestBody", {"required": True, **_JSON_OBJECT})
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _names(route.path)
    ]
    return {**described, "parameters": parameters} if parameters else described


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
