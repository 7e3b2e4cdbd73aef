"""The reference of the HTTP API, from the OpenAPI document that hamlet serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.docsite.schemas import Schema, bounds_text, default_text, markdown_table, type_text
from hamlet.app import create_app

_HEAD = """\
# API reference

Generated from the OpenAPI document by `python -m deploy.docsite`. A running hamlet serves the document at `/openapi.json`; clients can be generated from it.

The bodies of `/v1/chat/completions`, `/v1/embeddings` and `/v1/messages` are those of the vendors
([OpenAI](https://platform.openai.com/docs/api-reference/chat), [Anthropic](https://docs.anthropic.com/en/api/messages)), and so are their responses and errors.
Keys are sent as `Authorization: Bearer ...`, `x-api-key` or `api-key`.
"""
_TAGS = ("main screen", "openai", "anthropic", "models", "operations", "administration")
_TAG_TITLES = {"openai": "OpenAI"}
_METHODS = ("get", "post", "put", "delete")


def render_page() -> str:
    """The text of docs/reference/api.md."""
    document = create_app().fastapi_app.openapi()
    lines = [_HEAD]
    for tag in _TAGS:
        lines += [f"## {_TAG_TITLES.get(tag) or tag.capitalize()}", ""]
        for method, path, operation in _iter_operations(document):
            if (operation.get("tags") or ["operations"])[0] == tag:
                lines += _operation_section(method, path, operation)
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", str(schema.get("description", "")), ""]
        lines += _field_table(schema) if "properties" in schema else [type_text(schema), ""]
    return "\n".join(lines).rstrip() + "\n"


def _iter_operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def _operation_section(method: str, path: str, operation: Schema) -> list[str]:
    lines = [f"### {method} `{path}`", "", f"{operation.get('summary', '')}.", ""]
    if text := operation.get("description"):
        lines += [str(text), ""]
    if parameters := operation.get("parameters"):
        rows = [_parameter_row(one) for one in parameters]
        lines += markdown_table(("parameter", "in", "type", "default", "bounds"), rows)
    if body := operation.get("requestBody"):
        lines += [f"Body: {_media_types(body)}", ""]
    rows = [
        (f"`{code}`", str(r.get("description", "")), _media_types(r))
        for code, r in operation["responses"].items()
    ]
    return lines + markdown_table(("status", "meaning", "body"), rows)


def _parameter_row(parameter: Mapping[str, Any]) -> tuple[str, ...]:
    schema, required = parameter.get("schema", {}), parameter.get("required", False)
    return (
        f"`{parameter['name']}`",
        parameter["in"],
        type_text(schema),
        default_text(schema, required=required),
        bounds_text(schema),
    )


def _media_types(content_holder: Schema) -> str:
    media_types = [
        f"{type_text(c.get('schema', {}))} (`{media}`)"
        for media, c in content_holder.get("content", {}).items()
    ]
    return ", ".join(media_types)


def _field_table(schema: Schema) -> list[str]:
    required_names = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            type_text(value),
            default_text(value, required=name in required_names),
            bounds_text(value),
            _description_cell(value),
        )
        for name, value in schema["properties"].items()
    ]
    return markdown_table(("field", "type", "default", "bounds", "meaning"), rows)


def _description_cell(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
