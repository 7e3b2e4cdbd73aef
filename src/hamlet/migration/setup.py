"""What a configuration says of the move, checked against the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from hamlet.config import ConfigError, ConfigProblem, CutoverConfig, LoadedConfig
from hamlet.migration.redis_store import RedisStore
from hamlet.migration.state_store import FileStore, StateStore


def resolve_config(loaded: LoadedConfig) -> CutoverConfig:
    """What a configuration says of the move, checked against the rest of it.

    Paths are relative to the file. Raises ConfigError, also for rules to ignore that have expired.
    """
    config = loaded.config.cutover
    if config is None and "cutover" in loaded.source.data:
        loaded.source.raise_if_problems()
    problems = [] if config is None else list(_find_problems(loaded, config))
    if config is None:
        problems = [ConfigProblem("cutover", None, "this section is needed to move from hamlet1")]
    if config is None or problems:
        raise ConfigError(loaded.source.name, problems)
    return _resolve_paths(config, loaded.path.parent if loaded.path else Path())


def open_store(config: CutoverConfig) -> StateStore:
    """The store that a configuration names."""
    if config.redis is not None:
        return RedisStore(config.redis.get_secret_value())
    return FileStore(config.state)


def _find_problems(loaded: LoadedConfig, config: CutoverConfig) -> Sequence[ConfigProblem]:
    problems = []
    route = config.chat_route
    if route is not None and route not in loaded.config.routes:
        problems.append(_make_problem(loaded, ("cutover", "chat_route"), f"no such route: {route}"))
    for name, feature in config.features.items():
        for i, rule in enumerate(feature.ignore):
            if rule.expires < date.today():
                path = ("cutover", "features", name, "ignore", i)
                text = f"this rule of {rule.owner} has expired: {rule.reason}"
                problems.append(_make_problem(loaded, path, text))
    return problems


def _make_problem(loaded: LoadedConfig, path: tuple[str | int, ...], text: str) -> ConfigProblem:
    dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return ConfigProblem(dotted.removeprefix("."), loaded.source.line_of(path), text)


def _resolve_paths(config: CutoverConfig, folder: Path) -> CutoverConfig:
    runtime = config.edge.runtime
    edge = config.edge.model_copy(update={"runtime": folder / runtime if runtime else None})
    return config.model_copy(update={"state": folder / config.state, "edge": edge})
