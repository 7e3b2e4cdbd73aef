"""Parses rows from users' files: JSON Lines, CSV or OPML. Bad rows are reported, not fatal."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any
from urllib.parse import urlsplit
from xml.parsers import expat

import msgspec

from hamlet.core.text import Language
from hamlet.suggest.content.rows import LANGUAGES, ROW_TYPES, ChipRow, LinkRow, PackKind, Row

_TEXT_FIELDS = ("title", "text", "tags", "prompt")
_LIST_FIELDS = ("topics", "surfaces")
RowCheck = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is rejected: its line in the file, and why."""

    line: int
    reason: str


def parse_rows(
    text: str, file_format: str, kind: PackKind, language: Language, check: RowCheck
) -> Iterator[Row | BadRow]:
    """Every row of a file, good or bad, in order.

    `file_format` is "jsonl", "csv" or "opml"; `language` is that of texts without one; `check`
    returns what is wrong with a row beyond its fields, or None.
    """
    seen: set[str] = set()
    for line, raw in _PARSERS[file_format](text):
        if isinstance(raw, BadRow):
            yield raw
            continue
        result = _convert_row(raw, kind, language, check)
        if isinstance(result, str):
            yield BadRow(line, result)
        elif result.key in seen:
            yield BadRow(line, f"the same as an earlier row: {result.key}")
        else:
            seen.add(result.key)
            yield result


def check_link(row: Any) -> str | None:
    """What is wrong with a link beyond its fields, or None."""
    try:
        parts = urlsplit(row.url)
    except ValueError:
        return "url: cannot be parsed"
    if parts.scheme != "https" or any(c.isspace() or c in '<>"' for c in row.url):
        return "url: must be an https address"
    if parts.username or parts.password:
        return "url: holds a user name or password"
    host = parts.hostname or ""
    if "." not in host or host.replace(".", "").isdigit() or ":" in host:
        return "url: not a public host name"
    return None


def _convert_row(
    raw: dict[str, Any], kind: PackKind, language: Language, check: RowCheck
) -> Row | str:
    fields = dict(raw)
    for name in _TEXT_FIELDS:
        if isinstance(fields.get(name), str):
            fields[name] = {language: fields[name]}
    if kind == "links":
        fields.setdefault("site_lang", language)
    try:
        row: LinkRow | ChipRow = msgspec.convert(fields, ROW_TYPES[kind])
    except msgspec.ValidationError as error:
        return str(error)
    if isinstance(row, ChipRow) and row.text.keys() != row.prompt.keys():
        return "text and prompt are not in the same languages"
    return check(row) or row


def _parse_json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            yield number, BadRow(number, str(error))


def _parse_csv(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """A header line; texts by language in columns such as `title_ko`; `;` separates list items."""
    reader = csv.DictReader(StringIO(text), strict=True)
    try:
        for cells in reader:
            number = reader.line_num
            if None in cells or None in cells.values():
                yield number, BadRow(number, "not as many cells as the header has")
            else:
                yield number, _fields_from_cells(cells)
    except csv.Error as error:
        yield reader.line_num, BadRow(reader.line_num, str(error))


def _fields_from_cells(cells: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column, value in cells.items():
        name, _, language = column.strip().rpartition("_")
        if not value.strip():
            continue
        if name in _TEXT_FIELDS and language in LANGUAGES:
            fields.setdefault(name, {})[language] = value.strip()
        elif column.strip() in _LIST_FIELDS:
            fields[column.strip()] = [part.strip() for part in value.split(";")]
        else:
            fields[column.strip()] = value.strip()
    return fields


def _parse_opml(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Outlines with a web address, as feed readers export them: http://opml.org/spec2.opml"""
    found: list[tuple[int, dict[str, Any] | BadRow]] = []
    parser = expat.ParserCreate()

    def reject_entity(*_: Any) -> None:
        raise ValueError("entity declarations are not taken")

    def on_start_element(name: str, attributes: dict[str, str]) -> None:
        url = attributes.get("htmlUrl") or attributes.get("url")
        if name != "outline" or not url:
            return
        fields: dict[str, Any] = {
            "url": url,
            "title": attributes.get("title") or attributes.get("text", ""),
        }
        if attributes.get("description"):
            fields["text"] = attributes["description"][:200]
        if attributes.get("category"):
            fields["topics"] = [c.strip("/ ")[:32] for c in attributes["category"].split(",")]
        found.append((parser.CurrentLineNumber, fields))

    parser.StartElementHandler = on_start_element
    parser.EntityDeclHandler = reject_entity
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        line = parser.CurrentLineNumber
        found.append((line, BadRow(line, f"not OPML from here on: {error}")))
    yield from found


_PARSERS = {"jsonl": _parse_json_lines, "csv": _parse_csv, "opml": _parse_opml}
