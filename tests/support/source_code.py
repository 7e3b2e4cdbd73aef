"""The repository's own sources, parsed once per process."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "src/hamlet"
# Copies of other people's code, and of the previous release.
_COPIED = {"b1e5b88", "node_modules"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """The Python files below folders of the repository, sorted; without copies kept as fixtures."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return tuple(sorted(path for path in found if not _COPIED & {*path.parts}))


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git tracks and that is there."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return tuple(ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def split_identifier(identifier: str) -> list[str]:
    """`HTTPServer_idle_s` -> `["http", "server", "idle", "s"]`."""
    return [word.lower() for word in _WORD.findall(identifier)]


def defined_identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every identifier that a module defines, with its line: classes, functions, parameters,
    variables, attributes and aliases of imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, 0
