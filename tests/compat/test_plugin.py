"""The example plugin of commit b1e5b88 installs and passes its own conformance tests."""

import shutil
from pathlib import Path

from support.plugin import assert_plugin_tests_pass, install_plugin, run_python

ACME = Path(__file__).parent / "b1e5b88/examples/hamlet-acme"


async def test_a_plugin_for_the_names_before_installs_and_conforms(tmp_path: Path) -> None:
    # Outside this repository, whose pytest settings would apply otherwise.
    plugin = shutil.copytree(ACME, tmp_path / "hamlet-acme")
    python = install_plugin(plugin, tmp_path / "venv")
    listed = await run_python(python, "-m", "hamlet", "plugins", cwd=plugin)
    (row,) = [line for line in listed.splitlines() if "acme" in line]
    assert row.split() == ["acme", "hamlet-acme", "1.0.0", "chat", "ok"]
    await assert_plugin_tests_pass(python, plugin)
