"""One OpenAPI document for the hot routes and FastAPI's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import TypeAdapter

from hamlet.api.dispatcher import HotRoute

Mode = Literal["validation", "serialization"]
_JSON_OBJECT = {"content": {"application/json": {"schema": {"type": "object"}}}}


def document(app: FastAPI, routes: Sequence[HotRoute]) -> None:
    """Make `app.openapi()` tell of the hot routes too."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        paths = schema.setdefault("paths", {})
        shared = schema.setdefault("components", {}).setdefault("schemas", {})
        for route in routes:
            told = _with_parts_in(_operation(route), shared)
            paths.setdefault(route.path, {})[route.method.lower()] = told
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def schema_of(adapter: TypeAdapter[Any], mode: Mode = "validation") -> dict[str, Any]:
    """A media type's schema: a reference, and its parts, which `document` moves to where it points.

    `mode` is "serialization" for what hamlet answers: there, what has a default is always sent.
    """
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}", mode=mode)
    parts = {**schema.pop("$defs", {}), schema["title"]: schema}
    return {"schema": {"$ref": f"#/components/schemas/{schema['title']}", "$defs": parts}}


def _with_parts_in(node: Any, shared: dict[str, Any]) -> Any:
    """The node without its `$defs`, which move to `shared`."""
    if isinstance(node, list):
        return [_with_parts_in(item, shared) for item in node]
    if not isinstance(node, Mapping):
        return node
    for name, part in node.get("$defs", {}).items():
        shared.setdefault(name, _with_parts_in(part, shared))
    return {k: _with_parts_in(v, shared) for k, v in node.items() if k != "$defs"}


def operation(
    summary: str, tag: str, more: Callable[[], Mapping[str, Any]] = dict
) -> Callable[[], Mapping[str, Any]]:
    """An OpenAPI operation with a JSON object as its body, unless `more` says otherwise."""
    return lambda: {"summary": summary, "tags": [tag], **more()}


def _operation(route: HotRoute) -> dict[str, Any]:
    described = {
        "operationId": f"{route.method.lower()}_{route.path.strip('/').replace('/', '_')}",
        "responses": {"200": {"description": "OK", **_JSON_OBJECT}},
        **route.operation(),
    }
    if route.method == "POST":
        described.setdefault("requestBody", {"required": True, **_JSON_OBJECT})
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _names(route.path)
    ]
    if parameters:
        described["parameters"] = [*described.get("parameters", ()), *parameters]
    return described


def _names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
