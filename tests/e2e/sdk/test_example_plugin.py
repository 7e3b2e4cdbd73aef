"""examples/hamlet-acme, as its author would use it: installed, discovered, conformant."""

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.paths import ROOT

ACME = ROOT / "examples/hamlet-acme"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the plugin installed; hamlet's own packages are lent."""
    home = tmp_path_factory.mktemp("acme")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    lent = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages" / "lent.pth"
    # addsitedir, so that editable installs are seen too.
    lent.write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", str(ACME)]
    subprocess.run([*pip, *offline], check=True, cwd=home)
    return home / "bin/python"


async def _run(python: Path, *args: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(python),
        *args,
        cwd=ACME,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_hamlet_lists_the_plugin(python: Path) -> None:
    listed = await _run(python, "-m", "hamlet", "plugins")
    (row,) = [line for line in listed.splitlines() if "acme" in line]
    assert row.split() == ["acme", "hamlet-acme", "1.0.0", "chat", "ok"]


async def test_the_plugin_passes_conformance(python: Path) -> None:
    told = await _run(
        python,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        "tests",
    )
    assert " passed" in told
    assert "failed" not in told
    skips = [line for line in told.splitlines() if line.startswith("SKIPPED")]
    assert all("no fast lane" in line for line in skips)


async def test_hamlet_serves_a_config_that_names_the_plugin(python: Path, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(
        "providers: {acme: {kind: acme, api_key: env:ACME_KEY}}\n"
        "routes: {large: {deployments: [{provider: acme, model: acme-large}]}}\n"
    )
    checked = await _run(python, "-m", "hamlet", "config", "check", str(file), ACME_KEY="k-1")
    assert "ok (1 providers, 1 routes, 0 sources)" in checked
