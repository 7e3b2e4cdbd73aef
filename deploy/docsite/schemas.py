"""JSON Schema as Markdown: what a value may be, in a cell of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "pattern": "`{}`",
}
_FORMATS = {"password": "reference", "uri": "URL", "date": "day", "date-time": "time"}


def name_of(ref: str) -> str:
    """The last part of a `$ref`."""
    return ref.rpartition("/")[2]


def kind(schema: Schema) -> str:
    """What a value may be, in words; other schemas as links to headings of their names."""
    if "$ref" in schema:
        name = name_of(schema["$ref"])
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(dict.fromkeys(kind(o) for o in options if o != {"type": "null"}))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return "count per time, such as `600/min`"
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"names to {kind(schema['additionalProperties'])}"
    plain: str = schema.get("type", "any")
    return _FORMATS.get(schema.get("format", ""), plain)


def limits(schema: Schema) -> str:
    """The bounds of a value, in words."""
    told = [form.format(schema[key]) for key, form in _LIMITS.items() if key in schema]
    if "prefixItems" in schema:
        return ""
    for option in schema.get("anyOf", ()):
        if more := limits(option):
            told.append(more)
    if schema.get("type") == "array" and (each := limits(schema.get("items", {}))):
        told.append(f"each {each}")
    return ", ".join(told).replace("|", "\\|")


def default(schema: Schema, *, required: bool) -> str:
    """The default in a cell."""
    if required:
        return "**needed**"
    value = schema.get("default")
    if schema.get("uniqueItems") and isinstance(value, list):
        value = sorted(value)  # a set's order is no order
    if "$ref" in schema or value in (None, "", [], {}):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def inlined(schema: Schema) -> dict[str, Any]:
    """The schema with its own parts put where they are referred to."""
    parts = schema.get("$defs", {})

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        if "$ref" in node:
            return put(parts[name_of(node["$ref"])])
        return {key: put(value) for key, value in node.items() if key != "$defs"}

    return dict(put(schema))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, and the empty line after it."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
