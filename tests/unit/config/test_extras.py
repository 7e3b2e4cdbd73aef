"""Settings whose extra is not installed: `hamlet config check` and the start say which, and where."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamlet.app import Hamlet
from hamlet.cli import app
from hamlet.config import ConfigError, load

BASE = """providers:
  one: {kind: openai, base_url: "http://127.0.0.1:9/v1"TRANSPORT}
routes:
  chat: {deployments: [{provider: one, model: gpt-4o}]}
"""
CUTOVER = """cutover:
  legacy_url: http://127.0.0.1:1
  state: state.json
  features: {chat: {paths: [/api/chat]}}
"""
CASES = {
    "transport": ("aiohttp", ", transport: aiohttp", "", "2: providers.one.transport", "aiohttp"),
    "otlp": ("opentelemetry.sdk.trace", "", 'telemetry: {otlp: "http://collector/v1/traces"}', "5: telemetry.otlp", "otel"),
    "redis": ("redis", "", "fleet: {redis: env:TEST_REDIS}", "5: fleet.redis", "redis"),
    "cutover": ("aiohttp", "", CUTOVER, "6: cutover.legacy_url", "migration"),
    "cutover.redis": ("redis", "", CUTOVER + "  redis: env:TEST_REDIS", "9: cutover.redis", "redis"),
}  # fmt: skip


@pytest.fixture(params=CASES, ids=str)
def case(request, tmp_path: Path, monkeypatch) -> tuple[Path, str, str, str]:
    """A file that needs an extra, the module it installs, where the setting is, and its name."""
    monkeypatch.setenv("TEST_REDIS", "redis://127.0.0.1:1")
    module, transport, section, place, extra = CASES[request.param]
    file = tmp_path / "hamlet.yaml"
    file.write_text(BASE.replace("TRANSPORT", transport) + section)
    return file, module, place, extra


def test_config_check_names_the_missing_extra(case, monkeypatch) -> None:
    file, module, place, extra = case
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, ["config", "check", str(file)])
    assert result.exit_code == 2
    assert f"hamlet.yaml:{place}: " in result.output
    assert f"needs the extra: pip install 'hamlet[{extra}]'" in result.output


def test_start_names_the_missing_extra(case, monkeypatch) -> None:
    file, module, _, extra = case
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"hamlet\[{extra}\]"):
        Hamlet(load(file))


def test_config_check_is_content_with_the_extra_installed(case) -> None:
    file, _, _, _ = case
    result = CliRunner().invoke(app, ["config", "check", str(file)])
    assert result.exit_code == 0, result.output


def test_cutover_command_names_the_missing_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    file = tmp_path / "hamlet.yaml"
    file.write_text(BASE.replace("TRANSPORT", "") + CUTOVER)
    result = CliRunner().invoke(app, ["cutover", "status", "--config", str(file)])
    assert result.exit_code == 2
    assert "pip install 'hamlet[migration]'" in result.output
