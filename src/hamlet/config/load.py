"""From a file to a GatewayConfig, reporting everything wrong at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamlet.config.cutover import CutoverConfig
from hamlet.config.model import (
    FleetConfig,
    GatewayConfig,
    KeyConfig,
    ProviderConfig,
    RouteConfig,
    SuggestConfig,
)
from hamlet.config.secrets import resolve_secrets
from hamlet.config.yaml_source import (
    ConfigError,
    ConfigPath,
    ConfigProblem,
    ConfigSource,
    parse,
)

M = TypeVar("M", bound=BaseModel)
_SECTIONS_WITH_SECRETS: Mapping[str, type[BaseModel]] = {
    "suggest": SuggestConfig,
    "fleet": FleetConfig,
    "cutover": CutoverConfig,
}
# The error types of a model and of a dataclass.
_UNKNOWN_KEY_TYPES = ("extra_forbidden", "unexpected_keyword_argument")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and where it came from.

    `source` may hold problems: the last check calls `source.raise_if_problems()`. Rows that do not
    validate are left out of `config`, so that later checks can report theirs too.
    """

    config: GatewayConfig
    source: ConfigSource
    path: Path | None = None


def load(path: Path | None = None) -> LoadedConfig:
    """Read a file; None gives the built-in default. Raises ConfigError if it is no YAML mapping."""
    if path is None:
        return loads(resources.files("hamlet.config").joinpath("default.yaml").read_text("utf-8"))
    return replace(config_from_source(read_source(path)), path=path)


def read_source(path: Path) -> ConfigSource:
    """The plain data of a file, unchecked, and their lines. Raises ConfigError if not YAML."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = ConfigProblem("", None, f"cannot be read: {type(error).__name__}")
        raise ConfigError(str(path), [problem]) from None
    return parse(text, str(path))


def loads(text: str, name: str = "default.yaml") -> LoadedConfig:
    """Read a text; see LoadedConfig for what is checked."""
    return config_from_source(parse(text, name))


def config_from_source(source: ConfigSource) -> LoadedConfig:
    """The configuration in these data; its problems are reported in `source`."""
    data = dict(source.data)
    if isinstance(data.get("keys"), list):
        data["keys"] = [
            resolve_secrets(KeyConfig, key, source, ("keys", i)) if isinstance(key, dict) else key
            for i, key in enumerate(data["keys"])
        ]
    for name, section in _SECTIONS_WITH_SECRETS.items():
        if isinstance(data.get(name), dict):
            data[name] = resolve_secrets(section, data[name], source, (name,))
    config = validate(GatewayConfig, data, source, ()) or _valid_sections(data)
    return LoadedConfig(config, source)


def validate(
    model: type[M], data: Mapping[str, Any], source: ConfigSource, path: ConfigPath
) -> M | None:
    """An instance of `model`, or None with every problem reported under `path`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for error_detail in error.errors(include_input=False, include_url=False):
            config_path = (*path, *_path_in_file(error_detail["loc"], data))
            source.report(
                config_path,
                _problem_message(
                    model, error_detail["type"], error_detail["msg"], error_detail["loc"]
                ),
            )
        return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _problem_message(
    model: type[BaseModel], kind: str, text: str, loc: tuple[str | int, ...]
) -> str:
    if kind in _UNKNOWN_KEY_TYPES:
        return "unknown key" + did_you_mean(str(loc[-1]), _fields_at(model, loc[:-1]))
    if kind == "missing":
        return "this key is needed"
    return text.removeprefix("Value error, ")


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Iterable[str]:
    """The keys known at `loc`: pydantic names only the unknown one."""
    if not loc:
        return model.model_fields
    schema = model.model_json_schema()
    node: Any = schema
    for step in loc:
        node = _follow(_deref(node, schema), step)
    properties: Iterable[str] = _deref(node, schema).get("properties", {})
    return properties


def _follow(node: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return node.get("items", {})
    return node.get("properties", {}).get(step) or node.get("additionalProperties") or {}


def _deref(node: Any, schema: Any) -> Any:
    if isinstance(node, dict) and "$ref" in node:
        return schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node if isinstance(node, dict) else {}


def _path_in_file(loc: tuple[str | int, ...], data: Any) -> ConfigPath:
    """The part of pydantic's location that is in the file; it also names union members."""
    path: list[str | int] = []
    for i, step in enumerate(loc):
        if _contains(data, step):
            data = data[step]
        elif i == len(loc) - 1 and isinstance(data, Mapping):
            data = None
        else:
            continue
        path.append(step)
    return tuple(path)


def _contains(data: Any, step: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, Mapping) and step in data


def _valid_sections(data: Mapping[str, Any]) -> GatewayConfig:
    """The sections that are valid by themselves, for later checks."""
    suggest = SuggestConfig()
    with suppress(ValidationError):
        suggest = SuggestConfig.model_validate(data.get("suggest") or {})
    return GatewayConfig.model_construct(
        suggest=suggest,
        providers=_valid_rows(ProviderConfig, data.get("providers")),
        routes=_valid_rows(RouteConfig, data.get("routes")),
    )


def _valid_rows(model: type[M], rows: Any) -> dict[str, M]:
    valid: dict[str, M] = {}
    for name, row in rows.items() if isinstance(rows, dict) else ():
        with suppress(ValidationError):
            valid[name] = model.model_validate(row)
    return valid
