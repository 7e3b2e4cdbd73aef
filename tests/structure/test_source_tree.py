"""What holds for the whole tree: sizes, names, and what must not stand in it."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import hamlet.core
import hamlet.spi
import hamlet.testing
from support.paths import ROOT

SRC = ROOT / "src/hamlet"
FILES = sorted(SRC.rglob("*.py"))
VENDORS = re.compile(r"\b(openai|azure|anthropic|gemini|mistral|cohere)\b", re.IGNORECASE)
# Written in halves, so that this file does not name them either.
_HOST_PARTS = [("py", "pi.org"), ("python", "hosted.org"), ("npm", "js.org"), ("npm", "js.com")]
HOSTS = re.compile("|".join(re.escape(first + second) for first, second in _HOST_PARTS))


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_files_and_functions_stay_small() -> None:
    sizes = {file: len(file.read_text().splitlines()) for file in FILES}
    assert max(sizes.values()) <= 400
    assert sorted(sizes.values())[len(sizes) // 2] <= 120
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 50, f"{file.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("room", ["core", "registry", "fleet", "gateway", "suggest"])
def test_core_packages_name_no_vendor(room: str) -> None:
    for file in (SRC / room).rglob("*.py"):
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(), flags=re.DOTALL)
        assert not VENDORS.search(code), file


def test_no_file_names_a_package_index() -> None:
    for file in tracked_files():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        assert not HOSTS.search(text), file


@pytest.mark.parametrize("package", [hamlet.core, hamlet.spi, hamlet.testing])
def test_public_names_are_declared_sorted_and_documented(package) -> None:
    names = package.__all__
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for name in names:
        value = getattr(package, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_every_setting_is_documented() -> None:
    guide = (ROOT / "docs/configuration.md").read_text()
    from hamlet.config import cutover, model

    for section in (
        model.ServerConfig,
        model.KeyConfig,
        model.Policy,
        model.DeploymentConfig,
        model.RouteConfig,
        model.FleetConfig,
        model.TelemetryConfig,
        cutover.CutoverConfig,
        cutover.FeatureConfig,
        cutover.IgnoreConfig,
        cutover.ShadowConfig,
        cutover.GuardConfig,
        cutover.GateConfig,
        cutover.EdgeConfig,
    ):
        for name in TypeAdapter(section).json_schema()["properties"]:
            assert f"`{name}`" in guide, f"{section.__name__}.{name} is not documented"


def test_documented_configurations_are_valid(monkeypatch) -> None:
    from hamlet.config import loads
    from hamlet.registry import build_registry
    from hamlet.testing.support import SilentLog

    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HAMLET_KEY", "AZURE_KEY"):
        monkeypatch.setenv(name, "sk-example-0123456789")
    texts = [(ROOT / "deploy/examples/two-providers.yaml").read_text()]
    for page in ("README.md", "docs/configuration.md", "docs/fleet.md"):
        texts += re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    whole = [text for text in texts if "providers:" in text and "routes:" in text]
    assert len(whole) >= 3
    for text in whole:
        assert build_registry(loads(text), SilentLog()).routes
