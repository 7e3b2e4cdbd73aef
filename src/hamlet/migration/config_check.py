"""Validates the `cutover` section against the rest of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from hamlet.config import ConfigError, ConfigProblem, CutoverConfig, LoadedConfig


def resolve_config(loaded: LoadedConfig) -> CutoverConfig:
    """The `cutover` section, with paths made relative to the configuration file's folder.

    Raises ConfigError if the section is missing, names an unknown route, or holds an expired
    `ignore` rule.
    """
    config = loaded.config.cutover
    if config is None:
        # A section that could not be parsed has been left out: report its own problems instead.
        if "cutover" in loaded.source.data:
            loaded.source.raise_if_problems()
        missing = ConfigProblem("cutover", None, "this section is needed to move from hamlet1")
        raise ConfigError(loaded.source.name, [missing])
    if problems := list(_find_problems(loaded, config)):
        raise ConfigError(loaded.source.name, problems)
    return _resolve_paths(config, loaded.path.parent if loaded.path else Path())


def _find_problems(loaded: LoadedConfig, config: CutoverConfig) -> Iterator[ConfigProblem]:
    route = config.chat_route
    if route is not None and route not in loaded.config.routes:
        yield _make_problem(loaded, ("cutover", "chat_route"), f"no such route: {route}")
    for name, feature in config.features.items():
        for i, rule in enumerate(feature.ignore):
            if rule.expires < date.today():
                path = ("cutover", "features", name, "ignore", i)
                text = f"this rule of {rule.owner} has expired: {rule.reason}"
                yield _make_problem(loaded, path, text)


def _make_problem(loaded: LoadedConfig, path: tuple[str | int, ...], text: str) -> ConfigProblem:
    dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return ConfigProblem(dotted.removeprefix("."), loaded.source.line_of(path), text)


def _resolve_paths(config: CutoverConfig, folder: Path) -> CutoverConfig:
    runtime = config.edge.runtime
    edge = config.edge.model_copy(update={"runtime": folder / runtime if runtime else None})
    return config.model_copy(update={"state": folder / config.state, "edge": edge})
