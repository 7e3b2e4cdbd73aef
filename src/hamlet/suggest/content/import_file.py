"""Rows from users' files: JSON Lines, CSV, OPML. A bad row is named; the good ones are kept."""

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
from hamlet.suggest.content.rows import LANGUAGES, ROWS, ChipRow, LinkRow, PackKind, Row

_TEXTS = ("title", "text", "tags", "prompt")
_LISTS = ("topics", "surfaces")
Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be taken: its line in the file, and why."""

    line: int
    reason: str


def read_rows(
    text: str, form: str, kind: PackKind, language: Language, check: Check
) -> Iterator[Row | BadRow]:
    """Every row of a file, good or bad, in order.

    `form` is "jsonl", "csv" or "opml"; `language` is that of texts which do not say theirs;
    `check` says what else is wrong with a row.
    """
    seen: set[str] = set()
    for line, raw in _READERS[form](text):
        if isinstance(raw, BadRow):
            yield raw
            continue
        made = _row(raw, kind, language, check)
        if isinstance(made, str):
            yield BadRow(line, made)
        elif made.key in seen:
            yield BadRow(line, f"the same as an earlier row: {made.key}")
        else:
            seen.add(made.key)
            yield made


def check_link(row: Any) -> str | None:
    """What is wrong with a link beyond its fields."""
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


def _row(raw: dict[str, Any], kind: PackKind, language: Language, check: Check) -> Row | str:
    fields = dict(raw)
    for name in _TEXTS:
        if isinstance(fields.get(name), str):
            fields[name] = {language: fields[name]}
    if kind == "links":
        fields.setdefault("site_lang", language)
    try:
        row: LinkRow | ChipRow = msgspec.convert(fields, ROWS[kind])
    except msgspec.ValidationError as error:
        return str(error)
    if isinstance(row, ChipRow) and row.text.keys() != row.prompt.keys():
        return "text and prompt are not in the same languages"
    return check(row) or row


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            yield number, BadRow(number, str(error))


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """A header line; texts by language in columns such as `title_ko`; lists parted by `;`."""
    reader = csv.DictReader(StringIO(text), strict=True)
    try:
        for cells in reader:
            number = reader.line_num
            if None in cells or None in cells.values():
                yield number, BadRow(number, "not as many cells as the header has")
            else:
                yield number, _from_cells(cells)
    except csv.Error as error:
        yield reader.line_num, BadRow(reader.line_num, str(error))


def _from_cells(cells: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column, value in cells.items():
        name, _, language = column.strip().rpartition("_")
        if not value.strip():
            continue
        if name in _TEXTS and language in LANGUAGES:
            fields.setdefault(name, {})[language] = value.strip()
        elif column.strip() in _LISTS:
            fields[column.strip()] = [part.strip() for part in value.split(";")]
        else:
            fields[column.strip()] = value.strip()
    return fields


def _opml(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Outlines with a web address, as feed readers export them: http://opml.org/spec2.opml"""
    found: list[tuple[int, dict[str, Any] | BadRow]] = []
    parser = expat.ParserCreate()

    def entity(*_: Any) -> None:
        raise ValueError("entity declarations are not taken")

    def start(name: str, given: dict[str, str]) -> None:
        url = given.get("htmlUrl") or given.get("url")
        if name != "outline" or not url:
            return
        fields: dict[str, Any] = {"url": url, "title": given.get("title") or given.get("text", "")}
        if given.get("description"):
            fields["text"] = given["description"][:200]
        if given.get("category"):
            fields["topics"] = [c.strip("/ ")[:32] for c in given["category"].split(",")]
        found.append((parser.CurrentLineNumber, fields))

    parser.StartElementHandler = start
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        line = parser.CurrentLineNumber
        found.append((line, BadRow(line, f"not OPML from here on: {error}")))
    yield from found


_READERS = {"jsonl": _json_lines, "csv": _csv, "opml": _opml}
