"""YAML that keeps the line of every value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_TIMESTAMP = "tag:yaml.org,2002:timestamp"

ConfigPath = tuple[str | int, ...]
"""The keys and indexes from the top of the file to a value."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem: where (dotted path, line or None) and what. Never holds a value."""

    path: str
    line: int | None
    message: str


class ConfigError(Exception):
    """All problems of a configuration, at once."""

    def __init__(self, name: str, problems: list[ConfigProblem]) -> None:
        self.name = name
        self.problems = sorted(problems, key=lambda p: (p.line or 0, p.path))
        super().__init__("\n".join(map(self._format_problem, self.problems)))

    def _format_problem(self, problem: ConfigProblem) -> str:
        where = f"{self.name}:{problem.line}" if problem.line else self.name
        return (
            f"{where}: {problem.path}: {problem.message}"
            if problem.path
            else (f"{where}: {problem.message}")
        )


@dataclass(slots=True)
class ConfigSource:
    """A parsed file: plain data, the line of every path, and the problems so far."""

    name: str
    data: dict[str, Any]
    lines: dict[ConfigPath, int] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def line_of(self, path: ConfigPath) -> int | None:
        """The line of a path, or of its nearest ancestor in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def report(self, path: ConfigPath, message: str) -> None:
        """Add a problem at a path."""
        self.problems.append(ConfigProblem(format_path(path), self.line_of(path), message))

    def raise_if_problems(self) -> None:
        """Raise ConfigError if anything was reported."""
        if self.problems:
            raise ConfigError(self.name, self.problems)


def format_path(path: ConfigPath) -> str:
    """`routes.fast.tiers[0][1]`"""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.removeprefix(".")


def parse(text: str, name: str) -> ConfigSource:
    """Read YAML. Syntax errors raise ConfigError at once; duplicate keys are reported."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(name, [ConfigProblem("", None, f"the file is over {MAX_BYTES} bytes")])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else None
        raise ConfigError(name, [ConfigProblem("", line, f"not YAML: {error.problem}")]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            name, [ConfigProblem("", None, f"not YAML: {type(error).__name__}")]
        ) from None
    source = ConfigSource(name, {})
    reader = _NodeReader(source)
    data = reader.read_value(root, ()) if root is not None else {}
    if not isinstance(data, dict):
        raise ConfigError(name, [ConfigProblem("", 1, "a mapping is needed at the top")])
    source.data = data
    return source


class _NodeReader:
    """Turns nodes into data and records lines. Counts nodes, so that aliases cannot explode."""

    def __init__(self, source: ConfigSource) -> None:
        self._source = source
        self._scalar_constructor = yaml.constructor.SafeConstructor()
        self._node_count = 0

    def read_value(self, node: yaml.Node, path: ConfigPath) -> Any:
        self._node_count += 1
        if self._node_count > _MAX_NODES or len(path) > 50:
            problem = ConfigProblem(
                format_path(path), node.start_mark.line + 1, "too many or too deep values"
            )
            raise ConfigError(self._source.name, [problem])
        self._source.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._read_pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read_value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.tag == _TIMESTAMP:
            # No setting is a date, but an Azure api_version looks like one.
            return node.value
        try:
            return self._scalar_constructor.construct_object(node)
        except yaml.YAMLError:
            self._source.report(path, "this kind of value is not allowed")
            return None

    def _read_pairs(self, node: yaml.MappingNode, path: ConfigPath) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            key_path = (*path, key)
            if key in seen:
                line = key_node.start_mark.line + 1
                self._source.problems.append(
                    ConfigProblem(format_path(key_path), line, "duplicate name")
                )
                continue
            seen.add(key)
            self._source.lines[key_path] = key_node.start_mark.line + 1
            yield key, self.read_value(value_node, key_path)
