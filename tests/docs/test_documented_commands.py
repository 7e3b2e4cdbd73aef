"""Every command in README and the documentation is run, page by page, or skipped with a reason."""

import re
from pathlib import Path

import pytest

from support.doc_commands import Command, Session, fenced_blocks, parse_commands
from support.paths import ROOT

# Commands that are not run, by their prefix, and why. An entry that no page needs is a failure.
SKIP_REASONS = {
    "make test": "runs these tests",
    "make docs": "a target of its own: it installs the site's builder",
    "export OPENAI_API_KEY": "needs accounts with the vendors",
    ".venv/bin/hamlet doctor --config two.yaml": "calls the vendors; tests/behaviour/cli/test_doctor.py runs it over simulated ones",
    "make serve CONFIG=two.yaml": "needs accounts with the vendors",
    "npx openapi-typescript": "tests/e2e/suggest/test_typescript_client.py runs it, as installed by its lock",
    "pip install -e examples/hamlet-acme": "tests/e2e/sdk/test_example_plugin.py does, in a fresh environment",
    "hamlet plugins | grep acme": "the same",
    "pytest -o asyncio_mode=auto examples/hamlet-acme": "the same",
}
# Programs that pages may use and that are tested elsewhere or not at all.
TESTED_ELSEWHERE = {
    "docker": "no container engine in tests",
    "buildah": "no container engine in tests",
    "helm": "no cluster in tests; the chart has tests of its own",
    "kubectl": "no cluster in tests",
    "systemctl": "no systemd in tests",
    "npx": "installs from the network",
    "pip install": "installs from the network",
    "git clone": "needs the network",
    "make": "targets have tests, or times, of their own",
    "deploy/": "scripts with tests of their own",
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_COMMANDS = [page for page in PAGES if list(fenced_blocks(page, "console"))]


def is_skipped(command: Command) -> bool:
    if command.line.startswith("make serve") and command.line not in SKIP_REASONS:
        return False
    return any(command.line.startswith(prefix) for prefix in [*SKIP_REASONS, *TESTED_ELSEWHERE])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
async def test_page_commands_print_documented_output(page: Path, tmp_path: Path) -> None:
    for name in ("deploy", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    async with Session(tmp_path) as session:
        for language, text in fenced_blocks(page, "console", "python"):
            if language == "python":
                # Fragments are shown too; complete programs begin with their imports.
                if text.startswith(("from ", "import ")):
                    await session.assert_python_runs(text)
                continue
            for command in parse_commands(text):
                if not is_skipped(command):
                    await session.assert_prints_expected(command)


def test_every_skip_reason_is_used() -> None:
    all_lines = [
        c.line
        for page in PAGES
        for _, t in fenced_blocks(page, "console")
        for c in parse_commands(t)
    ]
    for prefix in SKIP_REASONS:
        if prefix not in ("make test", "make docs"):
            assert any(line.startswith(prefix) for line in all_lines), prefix


def test_the_tutorial_shows_the_plugin_that_is_tested() -> None:
    example = ROOT / "examples/hamlet-acme"
    sources = "".join(path.read_text() for path in example.rglob("*.py"))
    sources += (example / "pyproject.toml").read_text() + (
        example / "src/hamlet_acme/cards.toml"
    ).read_text()
    shown = list(fenced_blocks(ROOT / "docs/plugins.md", "python", "toml"))
    assert len(shown) >= 6
    for _, text in shown:
        for part in text.split("\n\n\n"):
            for lines in part.split("\n\n") if part.startswith("[project]") else [part]:
                wanted = lines.strip("\n")
                missing = [line for line in wanted.splitlines() if line not in sources]
                assert not missing, missing
                if not wanted.startswith("[project]"):
                    assert wanted in sources, wanted


def test_commands_are_in_console_blocks() -> None:
    """A `$` in a block of another kind looks like a command, and no test runs it."""
    for page in PAGES:
        for _, text in fenced_blocks(page, "bash", "sh", "shell", "text", ""):
            assert not re.search(r"^\$ ", text, re.MULTILINE), page
