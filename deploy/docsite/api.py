"""The reference of the HTTP API, from the OpenAPI document that hamlet serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.docsite.schemas import Schema, default, kind, limits, table
from hamlet.app import create_app

_HEAD = """\
# API reference

Made from the OpenAPI document, by `python -m deploy.docsite`; a test holds it so. A running hamlet serves the document at `/openapi.json`: generate clients from that.

The bodies of `/v1/chat/completions`, `/v1/embeddings` and `/v1/messages` are the vendors' own
([OpenAI](https://platform.openai.com/docs/api-reference/chat), [Anthropic](https://docs.anthropic.com/en/api/messages)), and so are their answers and errors.
Keys are sent as `Authorization: Bearer ...`, `x-api-key` or `api-key`.
"""
_TAGS = ("main screen", "openai", "anthropic", "models", "operations", "administration")
_NAMES = {"openai": "OpenAI"}
_METHODS = ("get", "post", "put", "delete")


def page() -> str:
    """docs/reference/api.md"""
    document = create_app().shell.openapi()
    lines = [_HEAD]
    for tag in _TAGS:
        lines += [f"## {_NAMES.get(tag) or tag.capitalize()}", ""]
        for method, path, told in _operations(document):
            if (told.get("tags") or ["operations"])[0] == tag:
                lines += _operation(method, path, told)
    lines += ["## Shapes", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", str(schema.get("description", "")), ""]
        lines += _fields(schema) if "properties" in schema else [kind(schema), ""]
    return "\n".join(lines).rstrip() + "\n"


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def _operation(method: str, path: str, told: Schema) -> list[str]:
    lines = [f"### {method} `{path}`", "", f"{told.get('summary', '')}.", ""]
    if text := told.get("description"):
        lines += [str(text), ""]
    if parameters := told.get("parameters"):
        rows = [_parameter(one) for one in parameters]
        lines += table(("parameter", "in", "type", "default", "bounds"), rows)
    if body := told.get("requestBody"):
        lines += [f"Body: {_media(body)}", ""]
    rows = [
        (f"`{code}`", str(r.get("description", "")), _media(r))
        for code, r in told["responses"].items()
    ]
    return lines + table(("status", "meaning", "body"), rows)


def _parameter(one: Mapping[str, Any]) -> tuple[str, ...]:
    schema, needed = one.get("schema", {}), one.get("required", False)
    return (
        f"`{one['name']}`",
        one["in"],
        kind(schema),
        default(schema, required=needed),
        limits(schema),
    )


def _media(holder: Schema) -> str:
    told = [
        f"{kind(c.get('schema', {}))} (`{media}`)" for media, c in holder.get("content", {}).items()
    ]
    return ", ".join(told)


def _fields(schema: Schema) -> list[str]:
    needed = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            kind(value),
            default(value, required=name in needed),
            limits(value),
            _brief(value),
        )
        for name, value in schema["properties"].items()
    ]
    return table(("field", "type", "default", "bounds", "meaning"), rows)


def _brief(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
