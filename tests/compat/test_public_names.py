"""Public names of commit b1e5b88 work: unchanged ones silently, renamed ones with one warning."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Per module its names, and per class its public attributes.
NAMES = json.loads((Path(__file__).parent / "b1e5b88/public_names.json").read_text())
RENAMED = {"hamlet.spi": ("Watchdog", "counted", "need_events")}
# Public by its name alone.
NOT_FOR_PLUGINS = {("Watchdog", "ring"): "the timer wheel calls it, nobody else"}

_IMPORT = "import importlib, sys; module = importlib.import_module(sys.argv[1]);"
_UNCHANGED = f"{_IMPORT} [getattr(module, name) for name in sys.argv[2:]]"
_COUNT_WARNINGS = f"""
import warnings
{_IMPORT}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        getattr(module, sys.argv[2])
print(*(each.category.__name__ for each in caught))
"""


def run(*args: str) -> str:
    """A process of its own, since a warning comes once per process."""
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", NAMES)
def test_unchanged_names_import_without_a_warning(module: str) -> None:
    names = [name for name in NAMES[module] if name not in RENAMED.get(module, ())]
    # An error only where the name is used: other libraries may have warnings of their own.
    options = ("-W", "error::DeprecationWarning:__main__")
    assert run(*options, "-c", _UNCHANGED, module, *names) == ""


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in RENAMED.items() for name in names]
)
def test_a_renamed_name_works_and_warns_once(module: str, name: str) -> None:
    assert run("-c", _COUNT_WARNINGS, module, name) == "DeprecationWarning"


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.filterwarnings("ignore:.*old name:DeprecationWarning")
def test_classes_keep_their_public_attributes(module: str) -> None:
    package: Any = __import__(module, fromlist=["__all__"])
    missing = [
        f"{name}.{attribute}"
        for name, attributes in NAMES[module].items()
        for attribute in attributes
        if not has_attribute(getattr(package, name), attribute)
        and (name, attribute) not in NOT_FOR_PLUGINS
    ]
    assert not missing


def has_attribute(owner: type, attribute: str) -> bool:
    """As a method, a slot, an annotation or a pydantic field."""
    annotated = {name for base in owner.__mro__ for name in getattr(base, "__annotations__", {})}
    return hasattr(owner, attribute) or attribute in annotated
