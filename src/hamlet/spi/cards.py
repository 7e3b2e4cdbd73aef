"""Model cards shipped with a plugin as a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from hamlet.core import ModelCard

_LISTS_TABLE = "param_lists"


def cards_from(package: str, file: str = "cards.toml") -> Mapping[str, ModelCard]:
    """The cards in `file` of `package`: one table per model, with the keys of ModelCard.

    Where `params` is a string, it names a list in the table `param_lists` of the same file.
    Raises ValueError for a name that is not in it, and pydantic.ValidationError for a bad card.
    """
    tables = tomllib.loads(resources.files(package).joinpath(file).read_text("utf-8"))
    lists = tables.pop(_LISTS_TABLE, {})
    cards = {}
    for model, facts in tables.items():
        if isinstance(name := facts.get("params"), str):
            facts["params"] = _find_list(lists, name, f"{file} of {package}: card {model!r}")
        cards[model] = ModelCard.model_validate(facts)
    return cards


def _find_list(lists: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in lists:
        known = ", ".join(sorted(lists)) or "nothing"
        raise ValueError(f"{where} has params {name!r}, but {_LISTS_TABLE} has {known}")
    return lists[name]
