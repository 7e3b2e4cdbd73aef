"""`tests/unit` mirrors `src/hamlet`: the tests of a module are where its path says."""

from support.paths import ROOT
from support.source_code import PACKAGE

UNIT = ROOT / "tests/unit"
# Tests of a behaviour that several modules share, and why they have no module of their own.
EXCEPTIONS = {
    "net/client/test_transport_differential.py": "compares hamlet's transport with aiohttp's",
    "providers/test_error_classes.py": "the errors of every adapter, in one table",
    "providers/test_listing.py": "the lists of models of every adapter",
    "spi/test_deprecated_names.py": "the old names of hamlet.core, hamlet.spi and hamlet.testing",
    "testing/test_deprecated_names.py": "the old names of hamlet.testing.simulator",
    "config/test_extras.py": "settings whose optional dependency is missing, in every section",
}


def has_module(folder: str, name: str) -> bool:
    """Whether `name` is a module or package in `folder`, or a module of a package below it.

    The last is for adapters: `providers/test_decode.py` tests `providers/*/decode.py`.
    """
    base = PACKAGE / folder
    return (
        (base / f"{name}.py").is_file()
        or (base / name).is_dir()
        or bool(list(base.glob(f"*/{name}.py")))
    )


def test_every_unit_test_file_is_named_after_a_module() -> None:
    files = sorted(path.relative_to(UNIT) for path in UNIT.rglob("test_*.py"))
    assert files
    stray = [
        str(path)
        for path in files
        if not has_module(str(path.parent), path.stem.removeprefix("test_"))
    ]
    assert set(stray) <= EXCEPTIONS.keys()


def test_only_tests_and_fixtures_are_among_the_unit_tests() -> None:
    for path in UNIT.rglob("*.py"):
        assert path.name.startswith("test_") or path.name in ("conftest.py", "__init__.py"), path
