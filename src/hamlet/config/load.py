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
from hamlet.config.secrets import resolve
from hamlet.config.source import ConfigError, Problem, Source, parse
from hamlet.config.source import Path as ConfigPath

M = TypeVar("M", bound=BaseModel)
_WITH_SECRETS: Mapping[str, type[BaseModel]] = {
    "suggest": SuggestConfig,
    "fleet": FleetConfig,
    "cutover": CutoverConfig,
}
# A model and a dataclass call it differently.
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from.

    `source` may hold problems: who completes the checks calls `source.check()`. Rows that do not
    validate are left out of `config`, so that later checks can add theirs.
    """

    config: GatewayConfig
    source: Source
    path: Path | None = None


def load(path: Path | None = None) -> Loaded:
    """Read a file; None gives the built-in default. Raises ConfigError if it is no YAML mapping."""
    if path is None:
        return loads(resources.files("hamlet.config").joinpath("default.yaml").read_text("utf-8"))
    return replace(checked(read(path)), path=path)


def read(path: Path) -> Source:
    """The plain data of a file, unchecked, and their lines. Raises ConfigError if it is no YAML."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem("", None, f"cannot be read: {type(error).__name__}")
        raise ConfigError(str(path), [problem]) from None
    return parse(text, str(path))


def loads(text: str, name: str = "default.yaml") -> Loaded:
    """Read a text; see Loaded for what is checked."""
    return checked(parse(text, name))


def checked(source: Source) -> Loaded:
    """A configuration of these data, its faults reported in `source`."""
    data = dict(source.data)
    if isinstance(data.get("keys"), list):
        data["keys"] = [
            resolve(KeyConfig, key, source, ("keys", i)) if isinstance(key, dict) else key
            for i, key in enumerate(data["keys"])
        ]
    for name, section in _WITH_SECRETS.items():
        if isinstance(data.get(name), dict):
            data[name] = resolve(section, data[name], source, (name,))
    config = validate(GatewayConfig, data, source, ()) or _sound_part(data)
    return Loaded(config, source)


def validate(model: type[M], data: Mapping[str, Any], source: Source, path: ConfigPath) -> M | None:
    """An instance of `model`, or None with every fault reported under `path`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            where = (*path, *_real(fault["loc"], data))
            source.report(where, _message(model, fault["type"], fault["msg"], fault["loc"]))
        return None


def suggestion(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _message(model: type[BaseModel], kind: str, text: str, loc: tuple[str | int, ...]) -> str:
    if kind in _UNKNOWN_KEY:
        return "unknown key" + suggestion(str(loc[-1]), _fields_at(model, loc[:-1]))
    if kind == "missing":
        return "this key is needed"
    return text.removeprefix("Value error, ")


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Iterable[str]:
    """The keys known where `loc` points: pydantic says only that one was not."""
    if not loc:
        return model.model_fields
    schema = model.model_json_schema()
    here: Any = schema
    for step in loc:
        here = _follow(_deref(here, schema), step)
    properties: Iterable[str] = _deref(here, schema).get("properties", {})
    return properties


def _follow(node: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return node.get("items", {})
    return node.get("properties", {}).get(step) or node.get("additionalProperties") or {}


def _deref(node: Any, schema: Any) -> Any:
    if isinstance(node, dict) and "$ref" in node:
        return schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node if isinstance(node, dict) else {}


def _real(loc: tuple[str | int, ...], data: Any) -> ConfigPath:
    """The part of pydantic's location that is in the file: it also names union members."""
    path: list[str | int] = []
    for i, step in enumerate(loc):
        if _holds(data, step):
            data = data[step]
        elif i == len(loc) - 1 and isinstance(data, Mapping):
            data = None
        else:
            continue
        path.append(step)
    return tuple(path)


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, Mapping) and step in data


def _sound_part(data: Mapping[str, Any]) -> GatewayConfig:
    """What is valid by itself, for the checks that come after."""
    suggest = SuggestConfig()
    with suppress(ValidationError):
        suggest = SuggestConfig.model_validate(data.get("suggest") or {})
    return GatewayConfig.model_construct(
        suggest=suggest,
        providers=_sound_rows(ProviderConfig, data.get("providers")),
        routes=_sound_rows(RouteConfig, data.get("routes")),
    )


def _sound_rows(model: type[M], rows: Any) -> dict[str, M]:
    sound: dict[str, M] = {}
    for name, row in rows.items() if isinstance(rows, dict) else ():
        with suppress(ValidationError):
            sound[name] = model.model_validate(row)
    return sound
