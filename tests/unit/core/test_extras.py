"""Optional dependencies: present, absent, and absent with its parent package."""

import sys

import pytest

from hamlet.core.extras import require_extra


def test_installed_module_is_accepted() -> None:
    assert "json" in sys.modules
    for module in ("json", "importlib.metadata"):
        assert require_extra(module, "any", "this") is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module", "absent"])
def test_missing_module_names_its_extra(monkeypatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "absent", None)
    with pytest.raises(
        ValueError, match=r"^charts needs the extra: pip install 'hamlet\[pictures\]'$"
    ):
        require_extra(name, "pictures", "charts")
