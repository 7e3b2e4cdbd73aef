"""Checks the configuration, and salvages the valid part of an invalid one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from hamlet.config import ConfigError, ConfigProblem, LoadedConfig, loads
from hamlet.doctor.finding import Finding
from hamlet.migration.config_check import resolve_config
from hamlet.registry import Plugins, Registry, build_registry
from hamlet.spi import Log
from hamlet.suggest.content import PackError, load_content

_UNSET_VARIABLE_PREFIX = "the environment variable "


def examine_configuration(
    loaded: LoadedConfig, log: Log, plugins: Plugins
) -> tuple[list[Finding], Registry | None]:
    """The findings, and a registry of the valid providers; None if nothing can be called."""
    name = loaded.source.name
    try:
        registry = build_registry(loaded, log, plugins)
    except ConfigError as error:
        findings = [_problem_finding(name, problem) for problem in error.problems]
        return findings, _build_partial_registry(loaded, error.problems, log, plugins)
    if findings := list(_check_cutover_and_packs(loaded)):
        return findings, registry
    summary = f"{len(registry.providers)} providers, {len(registry.routes)} routes"
    return [Finding("config", name, "ok", summary)], registry


def _check_cutover_and_packs(loaded: LoadedConfig) -> Iterator[Finding]:
    """Problems that building a registry does not find: the `cutover` section, and packs."""
    name, packs = loaded.source.name, loaded.config.suggest.packs
    if loaded.config.cutover is not None:
        try:
            resolve_config(loaded)
        except ConfigError as error:
            yield from config_error_findings(error)
    try:
        load_content(packs.folder, packs.off)
    except PackError as error:
        advice = "correct the pack, or name another folder"
        yield Finding("config", name, "failed", f"suggest.packs: {error}", advice)


def config_error_findings(error: ConfigError) -> list[Finding]:
    """A finding for each problem of an invalid configuration."""
    return [_problem_finding(error.name, problem) for problem in error.problems]


def _problem_finding(name: str, problem: ConfigProblem) -> Finding:
    where = f"{name}:{problem.line}" if problem.line else name
    message = f"{problem.path}: {problem.message}" if problem.path else problem.message
    if problem.message.startswith(_UNSET_VARIABLE_PREFIX):
        variable = problem.message.removeprefix(_UNSET_VARIABLE_PREFIX).split()[0]
        return Finding("key", where, "failed", message, f"export {variable}=...")
    return Finding("config", where, "failed", message, "correct this line; see docs/configuration")


def _build_partial_registry(
    loaded: LoadedConfig, problems: Sequence[ConfigProblem], log: Log, plugins: Plugins
) -> Registry | None:
    """A registry without the providers that have problems, so that the others can be checked."""
    data = loaded.source.data
    if not isinstance(data.get("providers"), dict) or not isinstance(data.get("routes"), dict):
        return None
    broken = {n for n in data["providers"] if any(_is_within_provider(p.path, n) for p in problems)}
    kept = {
        "providers": {n: row for n, row in data["providers"].items() if n not in broken},
        "routes": _drop_providers_from_routes(data["routes"], broken),
    }
    text = yaml.safe_dump(kept, sort_keys=False)
    try:
        return build_registry(
            replace(loads(text, loaded.source.name), path=loaded.path), log, plugins
        )
    except ConfigError:
        return None


def _is_within_provider(path: str, provider: str) -> bool:
    prefix = f"providers.{provider}"
    return path == prefix or path.startswith(f"{prefix}.")


def _drop_providers_from_routes(routes: Mapping[str, Any], excluded: set[str]) -> dict[str, Any]:
    def without_excluded(given: Any) -> list[Any]:
        return [r for r in given if not (isinstance(r, dict) and r.get("provider") in excluded)]

    kept: dict[str, Any] = {}
    for name, route in routes.items():
        if not isinstance(route, dict):
            continue
        remaining = dict(route)
        remaining.pop("residency", None)
        if isinstance(route.get("tiers"), list):
            tiers = [without_excluded(tier) for tier in route["tiers"] if isinstance(tier, list)]
            remaining["tiers"] = [tier for tier in tiers if tier]
        if isinstance(route.get("deployments"), list):
            remaining["deployments"] = without_excluded(route["deployments"])
        if remaining.get("tiers") or remaining.get("deployments"):
            kept[name] = remaining
    return kept
