"""YAML with a memory of where everything stood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_TIMESTAMP = "tag:yaml.org,2002:timestamp"

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where (dotted path, line or None) and what. Never holds a value."""

    path: str
    line: int | None
    message: str


class ConfigError(Exception):
    """Everything that is wrong with a configuration, at once."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name = name
        self.problems = sorted(problems, key=lambda p: (p.line or 0, p.path))
        super().__init__("\n".join(map(self._line, self.problems)))

    def _line(self, problem: Problem) -> str:
        where = f"{self.name}:{problem.line}" if problem.line else self.name
        return (
            f"{where}: {problem.path}: {problem.message}"
            if problem.path
            else (f"{where}: {problem.message}")
        )


@dataclass(slots=True)
class Source:
    """A parsed file: plain data, the line of every path, and what was wrong so far."""

    name: str
    data: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of a path, or of the nearest thing above it that is there."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def report(self, path: Path, message: str) -> None:
        """Note a problem at a path."""
        self.problems.append(Problem(dotted(path), self.line(path), message))

    def check(self) -> None:
        """Raise ConfigError if anything was reported."""
        if self.problems:
            raise ConfigError(self.name, self.problems)


def dotted(path: Path) -> str:
    """`routes.fast.tiers[0][1]`"""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def parse(text: str, name: str) -> Source:
    """Read YAML. Syntax errors raise ConfigError at once; duplicate keys are reported."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(name, [Problem("", None, f"the file is over {MAX_BYTES} bytes")])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else None
        raise ConfigError(name, [Problem("", line, f"not YAML: {error.problem}")]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(name, [Problem("", None, f"not YAML: {type(error).__name__}")]) from None
    source = Source(name, {})
    reader = _Reader(source)
    data = reader.value(root, ()) if root is not None else {}
    if not isinstance(data, dict):
        raise ConfigError(name, [Problem("", 1, "a mapping is needed at the top")])
    source.data = data
    return source


class _Reader:
    """Turns nodes into data, noting lines. Counts nodes, so that aliases cannot explode."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scalars = yaml.constructor.SafeConstructor()
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(path) > 50:
            problem = Problem(dotted(path), node.start_mark.line + 1, "too many or too deep values")
            raise ConfigError(self._source.name, [problem])
        self._source.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.tag == _TIMESTAMP:
            # No setting is a date, but an Azure api_version looks like one.
            return node.value
        try:
            return self._scalars.construct_object(node)
        except yaml.YAMLError:
            self._source.report(path, "this kind of value is not allowed")
            return None

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = (*path, key)
            if key in seen:
                line = key_node.start_mark.line + 1
                self._source.problems.append(Problem(dotted(here), line, "duplicate name"))
                continue
            seen.add(key)
            self._source.lines[here] = key_node.start_mark.line + 1
            yield key, self.value(value_node, here)
