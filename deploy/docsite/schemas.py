"""JSON Schema as Markdown: types, bounds and defaults for the cells of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_BOUND_FORMATS = {
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
_FORMAT_NAMES = {"password": "reference", "uri": "URL", "date": "day", "date-time": "time"}


def ref_name(ref: str) -> str:
    """The last part of a `$ref`."""
    return ref.rpartition("/")[2]


def type_text(schema: Schema) -> str:
    """The type of a value in words; other schemas as links to their headings."""
    if "$ref" in schema:
        name = ref_name(schema["$ref"])
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(dict.fromkeys(type_text(o) for o in options if o != {"type": "null"}))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return "count per time, such as `600/min`"
    if schema.get("type") == "array":
        return f"list of {type_text(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"names to {type_text(schema['additionalProperties'])}"
    plain: str = schema.get("type", "any")
    return _FORMAT_NAMES.get(schema.get("format", ""), plain)


def bounds_text(schema: Schema) -> str:
    """The bounds of a value, in words."""
    bounds = [form.format(schema[key]) for key, form in _BOUND_FORMATS.items() if key in schema]
    if "prefixItems" in schema:
        return ""
    for option in schema.get("anyOf", ()):
        if more := bounds_text(option):
            bounds.append(more)
    if schema.get("type") == "array" and (each := bounds_text(schema.get("items", {}))):
        bounds.append(f"each {each}")
    return ", ".join(bounds).replace("|", "\\|")


def default_text(schema: Schema, *, required: bool) -> str:
    """The default in a cell."""
    if required:
        return "**required**"
    value = schema.get("default")
    if schema.get("uniqueItems") and isinstance(value, list):
        value = sorted(value)  # sets have no order
    if "$ref" in schema or value in (None, "", [], {}):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def inline_refs(schema: Schema) -> dict[str, Any]:
    """The schema with every `$ref` replaced by its definition."""
    definitions = schema.get("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        if "$ref" in node:
            return inline(definitions[ref_name(node["$ref"])])
        return {key: inline(value) for key, value in node.items() if key != "$defs"}

    return dict(inline(schema))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and an empty line after it."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
