"""What holds for the whole tree: sizes, what packages know, and what no file may name."""

import ast
import re

import pytest
from pydantic import TypeAdapter

import hamlet.core
import hamlet.spi
import hamlet.testing
from support.paths import ROOT
from support.source_code import PACKAGE, parse, python_files, tracked_files

VENDORS = re.compile(r"\b(openai|azure|anthropic|gemini|mistral|cohere)\b", re.IGNORECASE)
# In two parts each, so that this file does not name them either.
_HOST_PARTS = [("py", "pi.org"), ("python", "hosted.org"), ("npm", "js.org"), ("npm", "js.com")]
HOSTS = re.compile("|".join(re.escape(first + second) for first, second in _HOST_PARTS))
# Documents that readers of this repository do not have.
_ABSENT_PARTS = [
    (r"\.\./shared/", "design"),
    (r"\bdesign, ", "part"),
    ("main-screen ", "design"),
    ("(?i:fault ", "matrix)"),
    (r"\bGoal ", r"G\d"),
]
ABSENT_DOCUMENTS = re.compile("|".join(first + second for first, second in _ABSENT_PARTS))
# Written on their day, with the references of that day.
ARCHIVED = ("docs/results/archive/", "tests/compat/b1e5b88/")


def text_of(path) -> str:
    """A file's text; empty if it is binary."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def test_files_and_functions_stay_small() -> None:
    files = python_files("src/hamlet")
    sizes = {file: len(file.read_text().splitlines()) for file in files}
    assert not {str(file): size for file, size in sizes.items() if size > 400}
    assert sorted(sizes.values())[len(sizes) // 2] <= 120
    for file in files:
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 50, f"{file.name}: {node.name} has {length} lines"


@pytest.mark.parametrize("package", ["core", "registry", "routing", "gateway", "suggest", "net"])
def test_core_packages_name_no_vendor(package: str) -> None:
    files = sorted((PACKAGE / package).rglob("*.py"))
    assert files
    for file in files:
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(), flags=re.DOTALL)
        assert not VENDORS.search(code), file


def test_no_file_names_a_package_index() -> None:
    for file in tracked_files():
        assert not HOSTS.search(text_of(file)), file


def test_no_file_refers_to_a_document_that_the_repository_does_not_have() -> None:
    for file in tracked_files():
        if str(file.relative_to(ROOT)).startswith(ARCHIVED):
            continue
        found = ABSENT_DOCUMENTS.search(text_of(file))
        assert not found, f"{file}: {found and found[0]}"


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
    complete = [text for text in texts if "providers:" in text and "routes:" in text]
    assert len(complete) >= 3
    for text in complete:
        assert build_registry(loads(text), SilentLog()).routes
