"""`hamlet init`: starter configurations are valid, contain no key, and serve."""

import re
from pathlib import Path

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from hamlet.cli import app
from hamlet.cli.init import starter_names, starter_text
from hamlet.config import load
from hamlet.registry import build_registry
from hamlet.simulator import marker
from hamlet.simulator.configuration import redirect_providers, simulated_deployments
from hamlet.testing.support import SilentLog
from support.server import run_server
from support.simulation import serve_simulation

VENDORS = starter_names()


def run_cli(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_starter_exists_for_every_built_in_vendor() -> None:
    assert {"openai", "anthropic", "azure", "vllm", "embedded", "two-vendors"} <= set(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_starter_is_valid_and_refers_to_its_keys(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hamlet.yaml"
    created = run_cli("init", "--vendor", vendor, "--out", file)
    assert created.exit_code == 0, created.output
    text = file.read_text()
    for name in re.findall(r"^[^#\n]*env:(\w+)", text, re.MULTILINE):
        assert f"export {name}=..." in created.output
        monkeypatch.setenv(name, "sk-example-0123456789")
    checked = run_cli("config", "check", file)
    assert checked.exit_code == 0, checked.output
    for line in re.findall(r"(?:api_key|secret): (\S+)", text):
        assert line.rstrip(",}").startswith(("env:", "file:"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_commented_out_settings_are_valid_too(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commented-out setting (`# key: value`) is valid once it is uncommented."""
    file = tmp_path / "hamlet.yaml"
    run_cli("init", "--vendor", vendor, "--out", file)
    text = re.sub(
        r"^( *)# (?=[a-z_ ]+:(?: |$)|  - \{)", r"\1", file.read_text(), flags=re.MULTILINE
    )
    assert text != file.read_text()
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "redis://127.0.0.1" if "REDIS" in name else "sk-example-0123456")
    file.write_text(text)
    checked = run_cli("config", "check", file)
    assert checked.exit_code == 0, checked.output


@pytest.mark.slow
async def test_starters_serve_against_the_simulator(tmp_path: Path) -> None:
    """One hamlet serves them in turn, which is faster than starting one for each."""
    file = tmp_path / "hamlet.yaml"
    body = {"model": "chat", "messages": [{"role": "user", "content": marker(20, 3)}]}
    async with run_server() as running, httpx2.AsyncClient(base_url=running.url) as http:
        for vendor in VENDORS:
            file.write_text(starter_text(vendor))
            loaded = load(file)
            async with serve_simulation(*simulated_deployments(loaded.config)) as server:
                file.write_text(yaml.safe_dump(redirect_providers(loaded.source.data, server.url)))
                registry = build_registry(load(file), SilentLog())
                running.hamlet.registries.swap(registry, drain_s=0)
                response = await http.post("/v1/chat/completions", json=body, timeout=60)
            assert response.status_code == 200, (vendor, response.text)
            assert response.json()["choices"][0]["message"]["content"], vendor


def test_existing_file_and_unknown_vendor_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hamlet.yaml"
    file.write_text("mine: 1\n")
    refused = run_cli("init", "--out", file)
    assert (refused.exit_code, "--force" in refused.output) == (2, True)
    assert file.read_text() == "mine: 1\n"
    assert run_cli("init", "--out", file, "--force").exit_code == 0
    assert "embedded" in file.read_text()
    unknown = run_cli("init", "--vendor", "opnai", "--out", tmp_path / "new.yaml")
    assert (unknown.exit_code, "did you mean openai?" in unknown.output) == (2, True)
    assert not (tmp_path / "new.yaml").exists()
    nowhere = run_cli("init", "--out", tmp_path / "no" / "where.yaml")
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (2, True)
