"""The reference of the configuration, from the schema that hamlet checks it with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import entry_points

from pydantic import BaseModel

from docsite.schemas import Schema, default, inlined, kind, limits, refs, table
from hamlet.config import GatewayConfig

_HEAD = """\
# Configuration reference

Made from the schema that `hamlet config check` uses, by `python -m docsite`; a test holds it so. What the settings mean, and
how they work together, is in the [guide](../configuration.md). `hamlet config schema` prints the same for editors.

A *reference* is `env:NAME` or `file:PATH`: secrets never stand in the file. *NAME* in a heading is yours to choose. Times are seconds.
"""
# Where in the file each section stands; the test of the page fails if one is missing.
_PLACES = {
    "ServerConfig": "server",
    "KeyConfig": "keys[]",
    "ProviderConfig": "providers.NAME",
    "RouteConfig": "routes.NAME",
    "DeploymentConfig": "routes.NAME.deployments[], routes.NAME.tiers[][]",
    "ChatParams": "defaults, caps",
    "Policy": "routes.NAME.policy",
    "FleetConfig": "fleet",
    "SuggestConfig": "suggest",
    "PacksConfig": "suggest.packs",
    "TelemetryConfig": "telemetry",
    "CutoverConfig": "cutover",
    "FeatureConfig": "cutover.features.NAME",
    "IgnoreConfig": "cutover.features.NAME.ignore[]",
    "ShadowConfig": "cutover.shadow",
    "GuardConfig": "cutover.guard",
    "GateConfig": "cutover.gate",
    "EdgeConfig": "cutover.edge",
}


def page() -> str:
    """docs/reference/configuration.md"""
    schema = GatewayConfig.model_json_schema()
    parts = schema["$defs"]
    ordered = list(dict.fromkeys(_reached(schema, parts)))
    lines = [_HEAD, "## The whole file", ""]
    lines += _rows(schema)
    for name in ordered:
        place = _PLACES[name]
        lines += [f"## {place}", "", _told(parts[name]), ""]
        lines += _rows(parts[name])
    lines += ["## Providers, by kind", ""]
    lines += _kinds("hamlet.providers", "providers.NAME")
    lines += ["## Web sources, by kind", ""]
    lines += _kinds("hamlet.sources", "suggest.sources.NAME")
    return "\n".join(lines).rstrip() + "\n"


def _reached(schema: Schema, parts: Schema) -> Iterator[str]:
    """The parts, each before what it refers to."""
    for name in refs({key: value for key, value in schema.items() if key != "$defs"}):
        yield name
        yield from _reached(parts[name], parts)


def _rows(schema: Schema) -> list[str]:
    needed = schema.get("required", ())
    rows = [
        (
            f"`{key}`",
            _named(kind(value)),
            default(value, required=key in needed),
            limits(value),
        )
        for key, value in schema.get("properties", {}).items()
    ]
    return table(("key", "type", "default", "bounds"), rows)


def _named(told: str) -> str:
    """Links that show the place in the file, not the name of the class."""
    for name, place in _PLACES.items():
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
        lines += [_told(schema), "", *_rows(schema)]
    return lines
