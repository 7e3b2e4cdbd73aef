"""A provider plugin as its author uses it: installed into a virtual environment of its own."""

import asyncio
import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def install_plugin(source: Path, home: Path) -> Path:
    """A fresh virtual environment in `home` with the plugin; its Python.

    hamlet and its dependencies come from the environment of the tests.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    version = sysconfig.get_python_version()
    shared = home / "lib" / f"python{version}" / "site-packages" / "shared.pth"
    # addsitedir, so that editable installs are seen too.
    shared.write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", str(source)]
    subprocess.run([*pip, *offline], check=True, cwd=home)
    return home / "bin/python"


async def run_python(python: Path, *args: str, cwd: Path, **environment: str) -> str:
    """The output of one command, which has to succeed."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        *args,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def assert_plugin_tests_pass(python: Path, plugin: Path) -> None:
    """The plugin's own tests pass; only tests of the fast lane may be skipped."""
    options = ("-q", "-rs", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    output = await run_python(python, "-m", "pytest", *options, "tests", cwd=plugin)
    assert " passed" in output
    assert "failed" not in output
    skips = [line for line in output.splitlines() if line.startswith("SKIPPED")]
    assert all("no fast lane" in line for line in skips)
