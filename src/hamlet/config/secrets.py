"""Secrets by reference: `env:NAME` or `file:PATH`, never inline."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from hamlet.config.yaml_source import ConfigPath, ConfigSource


def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a settings model that hold secrets."""
    return frozenset(
        name
        for name, info in model.model_fields.items()
        if info.annotation is SecretStr or SecretStr in typing.get_args(info.annotation)
    )


def resolve_secrets(
    model: type[BaseModel], raw: Mapping[str, Any], source: ConfigSource, path: ConfigPath
) -> dict[str, Any]:
    """`raw` with the references in its secret fields resolved; what fails is reported."""
    values = dict(raw)
    for name in secret_fields(model) & raw.keys():
        if raw[name] is not None:
            values[name] = _resolve_reference(raw[name], source, (*path, name))
    return values


def _resolve_reference(reference: Any, source: ConfigSource, path: ConfigPath) -> SecretStr | None:
    kind, _, name = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    secret = None
    if kind == "env" and name:
        secret = os.environ.get(name)
        if not secret:
            source.report(path, f"the environment variable {name} is not set")
    elif kind == "file" and name:
        secret = _read_secret_file(name, source, path)
    else:
        source.report(path, "a secret is given as env:NAME or file:PATH, never inline")
    return SecretStr(secret) if secret else None


def _read_secret_file(name: str, source: ConfigSource, path: ConfigPath) -> str | None:
    file = Path(source.name).parent / name
    try:
        text = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        source.report(path, f"the file {name} cannot be read: {type(error).__name__}")
        return None
    if not text:
        source.report(path, f"the file {name} is empty")
    return text
