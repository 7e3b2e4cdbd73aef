"""What OpenAPI says of the main screen, for client generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from hamlet.api.main_screen.problem import Problem
from hamlet.api.main_screen.request import SuggestRequest
from hamlet.api.openapi import operation, schema_of
from hamlet.suggest import Suggestions

_PROBLEM = "application/problem+json"


def described(summary: str, *, get: bool = False, q: bool = False) -> Mapping[str, Any]:
    """One operation: a body, or with `get` and `q` the parameters of the GET forms."""
    more: dict[str, Any] = {"responses": _responses()}
    if get or q:
        more["parameters"] = _parameters(with_text=q)
    else:
        schema = schema_of(TypeAdapter(SuggestRequest))
        more["requestBody"] = {"required": True, "content": {"application/json": schema}}
    return operation(summary, "main screen", **more)


def _responses() -> dict[str, Any]:
    content = {
        "application/json": schema_of(TypeAdapter(Suggestions), "serialization"),
        "text/event-stream": {"schema": {"type": "string"}},
    }
    document = {_PROBLEM: schema_of(TypeAdapter(Problem))}
    failed = {"description": "What is wrong", "content": document}
    return {
        "200": {"description": "Suggestions; a half alone where one was asked", "content": content},
        "4XX": failed,
        "5XX": failed,
    }


def _parameters(*, with_text: bool) -> list[dict[str, Any]]:
    strings = ["lang", "tz", "surface"] + (["q"] if with_text else [])
    found: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in strings
    ]
    if with_text:
        found.append({"name": "limit", "in": "query", "schema": {"type": "integer"}})
    return found
