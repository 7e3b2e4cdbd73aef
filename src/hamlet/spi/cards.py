"""Model cards shipped with a plugin as a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources

from hamlet.core import ModelCard


def cards_from(package: str, file: str = "cards.toml") -> Mapping[str, ModelCard]:
    """The cards in `file` of `package`: one table per model, with the keys of ModelCard."""
    tables = tomllib.loads(resources.files(package).joinpath(file).read_text("utf-8"))
    return {model: ModelCard.model_validate(facts) for model, facts in tables.items()}
