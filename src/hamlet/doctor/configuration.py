"""The configuration, and what of it can be examined when a part is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from hamlet.config import ConfigError, Loaded, Problem, loads
from hamlet.doctor.finding import Finding
from hamlet.migration import settings
from hamlet.registry import Plugins, Registry, build
from hamlet.spi import Log
from hamlet.suggest.content import PackError, load_content

_UNSET = "the environment variable "


def examine_configuration(
    loaded: Loaded, log: Log, plugins: Plugins
) -> tuple[list[Finding], Registry | None]:
    """What is wrong, and a registry of what is not; None if nothing can be asked."""
    name = loaded.source.name
    try:
        registry = build(loaded, log, plugins)
    except ConfigError as error:
        found = [_finding(name, problem) for problem in error.problems]
        return found, _sound_part(loaded, error.problems, log, plugins)
    if beyond := list(_beyond(loaded)):
        return beyond, registry
    told = f"{len(registry.providers)} providers, {len(registry.routes)} routes"
    return [Finding("config", name, "ok", told)], registry


def _beyond(loaded: Loaded) -> Iterator[Finding]:
    """What the registry does not look at, and serving would refuse: the move, and packs."""
    name, packs = loaded.source.name, loaded.config.suggest.packs
    if loaded.config.cutover is not None:
        try:
            settings(loaded)
        except ConfigError as error:
            yield from problems_of(error)
    try:
        load_content(packs.folder, packs.off)
    except PackError as error:
        advice = "correct the pack, or name another folder"
        yield Finding("config", name, "failed", f"suggest.packs: {error}", advice)


def problems_of(error: ConfigError) -> list[Finding]:
    """The problems of a file that cannot even be read."""
    return [_finding(error.name, problem) for problem in error.problems]


def _finding(name: str, problem: Problem) -> Finding:
    where = f"{name}:{problem.line}" if problem.line else name
    message = f"{problem.path}: {problem.message}" if problem.path else problem.message
    if problem.message.startswith(_UNSET):
        variable = problem.message.removeprefix(_UNSET).split()[0]
        return Finding("key", where, "failed", message, f"export {variable}=...")
    return Finding("config", where, "failed", message, "correct this line; see docs/configuration")


def _sound_part(
    loaded: Loaded, problems: Sequence[Problem], log: Log, plugins: Plugins
) -> Registry | None:
    """A registry without the providers that have problems, so that the others can be asked."""
    data = loaded.source.data
    if not isinstance(data.get("providers"), dict) or not isinstance(data.get("routes"), dict):
        return None
    wrong = {n for n in data["providers"] if any(_within(p.path, n) for p in problems)}
    kept = {
        "providers": {n: row for n, row in data["providers"].items() if n not in wrong},
        "routes": _routes_without(data["routes"], wrong),
    }
    text = yaml.safe_dump(kept, sort_keys=False)
    try:
        return build(replace(loads(text, loaded.source.name), path=loaded.path), log, plugins)
    except ConfigError:
        return None


def _within(path: str, provider: str) -> bool:
    whole = f"providers.{provider}"
    return path == whole or path.startswith(f"{whole}.")


def _routes_without(routes: Mapping[str, Any], wrong: set[str]) -> dict[str, Any]:
    def rows(given: Any) -> list[Any]:
        return [r for r in given if not (isinstance(r, dict) and r.get("provider") in wrong)]

    kept: dict[str, Any] = {}
    for name, route in routes.items():
        if not isinstance(route, dict):
            continue
        left = dict(route)
        left.pop("residency", None)
        if isinstance(route.get("tiers"), list):
            tiers = [rows(tier) for tier in route["tiers"] if isinstance(tier, list)]
            left["tiers"] = [tier for tier in tiers if tier]
        if isinstance(route.get("deployments"), list):
            left["deployments"] = rows(route["deployments"])
        if left.get("tiers") or left.get("deployments"):
            kept[name] = left
    return kept
