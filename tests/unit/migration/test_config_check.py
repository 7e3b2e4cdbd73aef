"""Validation of the `cutover` section against the rest of the file."""

import subprocess
import sys
from pathlib import Path

import pytest

from hamlet.config import ConfigError, load
from hamlet.migration.config_check import resolve_config

CONFIG = """
providers: {e: {kind: embedded}}
routes: {chat: {deployments: [{provider: e, model: embedded-chat}]}}
"""
CUTOVER = """
cutover:
  legacy_url: http://127.0.0.1:1
  state: state.json
  features: {chat: {paths: [/api/chat]}}
  edge: {runtime: edge/runtime.json}
"""


def test_paths_are_relative_to_the_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(CONFIG + CUTOVER)
    config = resolve_config(load(file))
    assert config.state == tmp_path / "state.json"
    assert config.edge.runtime == tmp_path / "edge/runtime.json"


def test_missing_section_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text(CONFIG)
    with pytest.raises(ConfigError, match="this section is needed"):
        resolve_config(load(file))


def test_checking_loads_no_other_part_of_the_migration() -> None:
    code = "import sys, hamlet.migration.config_check; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("hamlet.migration")}
    assert loaded == {"hamlet.migration", "hamlet.migration.config_check"}
