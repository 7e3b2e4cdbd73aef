"""examples/hamlet-acme, as its author would use it: installed, discovered, conformant."""

from pathlib import Path

import pytest

from support.paths import ROOT
from support.plugin import assert_plugin_tests_pass, install_plugin, run_python

ACME = ROOT / "examples/hamlet-acme"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_plugin(ACME, tmp_path_factory.mktemp("acme"))


async def test_hamlet_lists_the_plugin(python: Path) -> None:
    listed = await run_python(python, "-m", "hamlet", "plugins", cwd=ACME)
    (row,) = [line for line in listed.splitlines() if "acme" in line]
    assert row.split() == ["acme", "hamlet-acme", "1.0.0", "chat", "ok"]


async def test_the_plugin_passes_conformance(python: Path) -> None:
    await assert_plugin_tests_pass(python, ACME)


async def test_hamlet_serves_a_config_that_names_the_plugin(python: Path, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(
        "providers: {acme: {kind: acme, api_key: env:ACME_KEY}}\n"
        "routes: {large: {deployments: [{provider: acme, model: acme-large}]}}\n"
    )
    command = ("-m", "hamlet", "config", "check", str(file))
    checked = await run_python(python, *command, cwd=ACME, ACME_KEY="k-1")
    assert "ok (1 providers, 1 routes, 0 sources)" in checked
