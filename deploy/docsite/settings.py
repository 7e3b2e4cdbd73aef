"""The reference of the configuration, from the schema that `hamlet config check` uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel

from deploy.docsite.schemas import (
    Schema,
    bounds_text,
    default_text,
    inline_refs,
    markdown_table,
    ref_name,
    type_text,
)
from hamlet.config import GatewayConfig

_HEAD = """\
# Configuration reference

Generated from the schema that `hamlet config check` uses by `python -m deploy.docsite`. The [guide](../configuration.md) explains what the settings mean and
how they work together. `hamlet config schema` prints the schema for editors.

A *reference* is `env:NAME` or `file:PATH`: the file itself contains no secrets. *NAME* in a heading stands for a name of your choice. Times are in seconds.
"""
_MAX_PATHS = 2


def render_page() -> str:
    """The text of docs/reference/configuration.md."""
    schema = GatewayConfig.model_json_schema()
    parts, places = schema["$defs"], _paths_of_definitions(schema)
    lines = [_HEAD, "## The whole file", "", *_settings_table(schema, places)]
    for name, place in places.items():
        lines += [
            f"## {place}",
            "",
            _description(parts[name]),
            "",
            *_settings_table(parts[name], places),
        ]
    lines += ["## Providers, by kind", ""]
    lines += _kind_sections("hamlet.providers", "providers.NAME")
    lines += ["## Web sources, by kind", ""]
    lines += _kind_sections("hamlet.sources", "suggest.sources.NAME")
    return "\n".join(lines).rstrip() + "\n"


def _paths_of_definitions(schema: Schema) -> dict[str, str]:
    """The paths in the file of each definition; a definition comes before those that it contains."""
    found: dict[str, list[str]] = {}

    def collect_paths(node: Schema, path: str) -> None:
        for key, value in node.get("properties", {}).items():
            for name, place in _referenced_definitions(value, f"{path}.{key}".removeprefix(".")):
                new = name not in found
                found.setdefault(name, []).append(place)
                if new:
                    collect_paths(schema["$defs"][name], place)

    collect_paths(schema, "")
    return {name: ", ".join(sorted(all_, key=len)[:_MAX_PATHS]) for name, all_ in found.items()}


def _referenced_definitions(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The definitions that a value refers to, with their paths."""
    if "$ref" in value:
        yield ref_name(value["$ref"]), path
    for option in value.get("anyOf", ()):
        yield from _referenced_definitions(option, path)
    if isinstance(value.get("items"), Mapping):
        yield from _referenced_definitions(value["items"], f"{path}[]")
    if isinstance(value.get("additionalProperties"), Mapping):
        yield from _referenced_definitions(value["additionalProperties"], f"{path}.NAME")


def _settings_table(schema: Schema, places: Mapping[str, str]) -> list[str]:
    required_names = schema.get("required", ())
    rows = [
        (
            f"`{key}`",
            _link_by_path(type_text(v), places),
            default_text(v, required=key in required_names),
            bounds_text(v),
        )
        for key, v in schema.get("properties", {}).items()
    ]
    return markdown_table(("key", "type", "default", "bounds"), rows)


def _link_by_path(text: str, places: Mapping[str, str]) -> str:
    """The text with links that show the path in the file instead of the class name."""
    for name, place in places.items():
        shown = place.partition(",")[0]
        text = text.replace(f"[{name}](#{name.lower()})", f"[{shown}](#{_slug(place)})")
    return text


def _slug(heading: str) -> str:
    """The anchor that Python-Markdown, and GitHub, give a heading."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


def _description(schema: Schema) -> str:
    return str(schema.get("description", ""))


def _kind_sections(group: str, path: str) -> list[str]:
    lines: list[str] = []
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        if entry.dist is None or entry.dist.name != "hamlet":
            continue
        settings: type[BaseModel] = entry.load().Settings
        schema = inline_refs(settings.model_json_schema())
        lines += [f"### {path} of kind `{entry.name}`", ""]
        lines += [_description(schema), "", *_settings_table(schema, {})]
    return lines
