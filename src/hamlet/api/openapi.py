"""One OpenAPI document for the dispatcher's endpoints and FastAPI's routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import TypeAdapter

from hamlet.api.dispatcher import HttpEndpoint

SchemaMode = Literal["validation", "serialization"]
_JSON_OBJECT = {"content": {"application/json": {"schema": {"type": "object"}}}}


def extend_openapi(app: FastAPI, endpoints: Sequence[HttpEndpoint]) -> None:
    """Make `app.openapi()` describe the dispatcher's endpoints too."""
    base_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        schema = base_openapi()
        paths = schema.setdefault("paths", {})
        shared = schema.setdefault("components", {}).setdefault("schemas", {})
        for endpoint in endpoints:
            described = _hoist_defs(_operation_object(endpoint), shared)
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = described
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def schema_of(adapter: TypeAdapter[Any], mode: SchemaMode = "validation") -> dict[str, Any]:
    """A media type's schema: a reference, and its definitions, which `extend_openapi` moves there.

    `mode` is "serialization" for responses: in these, a field with a default is always present.
    """
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}", mode=mode)
    parts = {**schema.pop("$defs", {}), schema["title"]: schema}
    return {"schema": {"$ref": f"#/components/schemas/{schema['title']}", "$defs": parts}}


def _hoist_defs(node: Any, shared: dict[str, Any]) -> Any:
    """The node without its `$defs`, which move to `shared`."""
    if isinstance(node, list):
        return [_hoist_defs(item, shared) for item in node]
    if not isinstance(node, Mapping):
        return node
    for name, part in node.get("$defs", {}).items():
        shared.setdefault(name, _hoist_defs(part, shared))
    return {k: _hoist_defs(v, shared) for k, v in node.items() if k != "$defs"}


def openapi_operation(
    summary: str, tag: str, extra: Callable[[], Mapping[str, Any]] = dict
) -> Callable[[], Mapping[str, Any]]:
    """An OpenAPI operation with a JSON object as its body, unless `extra` describes another."""
    return lambda: {"summary": summary, "tags": [tag], **extra()}


def _operation_object(endpoint: HttpEndpoint) -> dict[str, Any]:
    described = {
        "operationId": f"{endpoint.method.lower()}_{endpoint.path.strip('/').replace('/', '_')}",
        "responses": {"200": {"description": "OK", **_JSON_OBJECT}},
        **endpoint.openapi_operation(),
    }
    if endpoint.method == "POST":
        described.setdefault("requestBody", {"required": True, **_JSON_OBJECT})
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _path_parameter_names(endpoint.path)
    ]
    if parameters:
        described["parameters"] = [*described.get("parameters", ()), *parameters]
    return described


def _path_parameter_names(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
