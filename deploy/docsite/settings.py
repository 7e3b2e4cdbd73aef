"""The reference of the configuration, from the schema that hamlet checks it with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel

from deploy.docsite.schemas import Schema, default, inlined, kind, limits, name_of, table
from hamlet.config import GatewayConfig

_HEAD = """\
# Configuration reference

Made from the schema that `hamlet config check` uses, by `python -m deploy.docsite`; a test holds it so. What the settings mean, and
how they work together, is in the [guide](../configuration.md). `hamlet config schema` prints the same for editors.

A *reference* is `env:NAME` or `file:PATH`: secrets never stand in the file. *NAME* in a heading is yours to choose. Times are seconds.
"""
_SHOWN = 2


def page() -> str:
    """docs/reference/configuration.md"""
    schema = GatewayConfig.model_json_schema()
    parts, places = schema["$defs"], _places(schema)
    lines = [_HEAD, "## The whole file", "", *_rows(schema, places)]
    for name, place in places.items():
        lines += [f"## {place}", "", _told(parts[name]), "", *_rows(parts[name], places)]
    lines += ["## Providers, by kind", ""]
    lines += _kinds("hamlet.providers", "providers.NAME")
    lines += ["## Web sources, by kind", ""]
    lines += _kinds("hamlet.sources", "suggest.sources.NAME")
    return "\n".join(lines).rstrip() + "\n"


def _places(schema: Schema) -> dict[str, str]:
    """Where in the file each part stands, in words; a part before those that it holds."""
    found: dict[str, list[str]] = {}

    def visit(node: Schema, path: str) -> None:
        for key, value in node.get("properties", {}).items():
            for name, place in _held(value, f"{path}.{key}".removeprefix(".")):
                new = name not in found
                found.setdefault(name, []).append(place)
                if new:
                    visit(schema["$defs"][name], place)

    visit(schema, "")
    return {name: ", ".join(sorted(all_, key=len)[:_SHOWN]) for name, all_ in found.items()}


def _held(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """The parts that a value may hold, and where they stand then."""
    if "$ref" in value:
        yield name_of(value["$ref"]), place
    for option in value.get("anyOf", ()):
        yield from _held(option, place)
    if isinstance(value.get("items"), Mapping):
        yield from _held(value["items"], f"{place}[]")
    if isinstance(value.get("additionalProperties"), Mapping):
        yield from _held(value["additionalProperties"], f"{place}.NAME")


def _rows(schema: Schema, places: Mapping[str, str]) -> list[str]:
    needed = schema.get("required", ())
    rows = [
        (f"`{key}`", _named(kind(v), places), default(v, required=key in needed), limits(v))
        for key, v in schema.get("properties", {}).items()
    ]
    return table(("key", "type", "default", "bounds"), rows)


def _named(told: str, places: Mapping[str, str]) -> str:
    """Links that show the place in the file, not the name of the class."""
    for name, place in places.items():
        shown = place.partition(",")[0]
        told = told.replace(f"[{name}](#{name.lower()})", f"[{shown}](#{_slug(place)})")
    return told


def _slug(heading: str) -> str:
    """The anchor that Python-Markdown, and GitHub, give a heading."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


def _told(schema: Schema) -> str:
    return str(schema.get("description", ""))


def _kinds(group: str, place: str) -> list[str]:
    lines: list[str] = []
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        if entry.dist is None or entry.dist.name != "hamlet":
            continue
        settings: type[BaseModel] = entry.load().Settings
        schema = inlined(settings.model_json_schema())
        lines += [f"### {place} of kind `{entry.name}`", ""]
        lines += [_told(schema), "", *_rows(schema, {})]
    return lines
