"""Paths in the pages for contributors exist."""

import re

import pytest

from support.paths import ROOT

PAGES = ["CONTRIBUTING.md", "docs/patterns.md"]
_PATH = re.compile(
    r"`((?:src|tests|docs|deploy|loadtest|dashboards)/[\w./*-]+|pyproject\.toml|\.importlinter)`"
)


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_a_page_names_exists(name: str) -> None:
    named = [path for path in _PATH.findall((ROOT / name).read_text("utf-8")) if "NAME" not in path]
    assert len(named) >= 3
    missing = [path for path in named if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing


def test_every_package_is_in_the_architecture() -> None:
    table = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## Package layout")[2]
    for path in (ROOT / "src/hamlet").iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        if name.startswith("_") or name == "py.typed":
            continue
        assert f"`{name}`" in table, name
