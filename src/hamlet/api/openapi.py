"""One OpenAPI document for the dispatcher's endpoints and FastAPI's routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import TypeAdapter

from hamlet.api.dispatcher import HttpEndpoint

SchemaMode = Literal["validation", "serialization"]
_REF_PREFIX = "#/components/schemas/"
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
    """A media type's schema: a reference and its `$defs`, which `_hoist_defs` moves elsewhere.

    A schema is named by its title: the class name, or the `title` of the model's configuration
    where the public name differs from it. `mode` is "serialization" for response bodies, in which
    fields with a default are always present.
    """
    schema = adapter.json_schema(ref_template=_REF_PREFIX + "{model}", mode=mode)
    defs = schema.pop("$defs", {})
    titles = {name: part.get("title", name) for name, part in defs.items()}
    parts = {titles[name]: _rename_refs(part, titles) for name, part in defs.items()}
    parts[schema["title"]] = _rename_refs(schema, titles)
    return {"schema": {"$ref": _REF_PREFIX + schema["title"], "$defs": parts}}


def _rename_refs(node: Any, names: Mapping[str, str]) -> Any:
    """The node with each reference to a key of `names` pointing to its value instead."""
    if isinstance(node, list):
        return [_rename_refs(item, names) for item in node]
    if not isinstance(node, Mapping):
        return node
    renamed = {key: _rename_refs(value, names) for key, value in node.items()}
    if isinstance(ref := node.get("$ref"), str):
        target = ref.removeprefix(_REF_PREFIX)
        renamed["$ref"] = _REF_PREFIX + names.get(target, target)
    return renamed


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
