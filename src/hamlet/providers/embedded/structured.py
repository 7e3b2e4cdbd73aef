"""JSON that matches a schema, filled from the conversation where possible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hamlet.core.text import split_sentences, tokenize
from hamlet.providers.embedded.answer import best_sentences

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MAX_DEPTH = 20


class SchemaFiller:
    """Fills schemas (the subset of JSON Schema 2020-12 that structured outputs allow)."""

    def __init__(self, text: str, root: Mapping[str, Any]) -> None:
        self._text = text
        self._root = root
        self._sentences = split_sentences(text)
        self._numbers = [float(n) for n in _NUMBER.findall(text)]

    def fill(self) -> Any:
        """A value for the whole schema."""
        return self._value(self._root, "", 0)

    def _value(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolve_schema(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._best_option(schema["enum"])
        if depth > _MAX_DEPTH:
            return None
        match self._schema_type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return int(self._number(schema))
            case "number":
                return self._number(schema)
            case "boolean":
                return False
            case "null":
                return None
        return self._string(schema, name)

    def _resolve_schema(self, schema: Any) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, Mapping):
                return {}
            if isinstance(schema.get("$ref"), str):
                schema = self._resolve_ref(schema["$ref"])
            elif options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
                schema = next((o for o in options if self._schema_type(o) != "null"), options[0])
            else:
                return schema
        return {}

    def _resolve_ref(self, reference: str) -> Any:
        node: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            node = node.get(step, {}) if isinstance(node, Mapping) and step else node
        return node

    def _schema_type(self, schema: Any) -> str:
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None and isinstance(schema, Mapping):
            return "object" if "properties" in schema else "string"
        return str(kind)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        fields = schema.get("properties") or {}
        return {name: self._value(field, name, depth + 1) for name, field in fields.items()}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        count = max(schema.get("minItems", 1), 1)
        count = min(count, schema.get("maxItems", count))
        return [self._value(schema.get("items", {}), name, depth + 1) for _ in range(count)]

    def _number(self, schema: Mapping[str, Any]) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", float("-inf")))
        high = schema.get("maximum", schema.get("exclusiveMaximum", float("inf")))
        fitting = [n for n in self._numbers if low <= n <= high]
        return fitting[0] if fitting else min(max(0.0, float(low)), float(high))

    def _best_option(self, options: list[Any]) -> Any:
        text_grams = set(tokenize(self._text))
        return max(options, key=lambda option: len(text_grams & set(tokenize(str(option)))))

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        query = f"{name} {schema.get('description', '')}"
        found = best_sentences(query, self._sentences, 1)
        return (found[0] if found else "")[: schema.get("maxLength", 200)]
