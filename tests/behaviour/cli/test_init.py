"""`hamlet init`: what it writes is sound, holds no key, and serves."""

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
def test_what_it_writes_is_sound_and_holds_keys_by_reference(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hamlet.yaml"
    made = run_cli("init", "--vendor", vendor, "--out", file)
    assert made.exit_code == 0, made.output
    text = file.read_text()
    for name in re.findall(r"^[^#\n]*env:(\w+)", text, re.MULTILINE):
        assert f"export {name}=..." in made.output
        monkeypatch.setenv(name, "sk-example-0123456789")
    checked = run_cli("config", "check", file)
    assert checked.exit_code == 0, checked.output
    for line in re.findall(r"(?:api_key|secret): (\S+)", text):
        assert line.rstrip(",}").startswith(("env:", "file:"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_parts_that_are_commented_out_are_sound_too(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment that is a setting (`# key: value`) works once its mark is taken away."""
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


async def test_what_it_writes_serves_against_the_simulator(tmp_path: Path) -> None:
    """One hamlet serves each in turn: starting anew for each would take long."""
    file = tmp_path / "hamlet.yaml"
    ask = {"model": "chat", "messages": [{"role": "user", "content": marker(20, 3)}]}
    async with run_server() as running, httpx2.AsyncClient(base_url=running.url) as http:
        for vendor in VENDORS:
            file.write_text(starter_text(vendor))
            loaded = load(file)
            async with serve_simulation(*simulated_deployments(loaded.config)) as server:
                file.write_text(yaml.safe_dump(redirect_providers(loaded.source.data, server.url)))
                registry = build_registry(load(file), SilentLog())
                running.hamlet.registries.swap(registry, drain_s=0)
                answer = await http.post("/v1/chat/completions", json=ask, timeout=60)
            assert answer.status_code == 200, (vendor, answer.text)
            assert answer.json()["choices"][0]["message"]["content"], vendor


def test_it_replaces_no_file_unasked_and_names_what_there_is(tmp_path: Path) -> None:
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
