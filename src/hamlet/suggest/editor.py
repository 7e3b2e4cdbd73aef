"""Changes of content while serving: packs, pins, and what happens to rows from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hamlet.content import (
    BadRow,
    Content,
    PackKind,
    Pin,
    check_link,
    load_content,
    read_rows,
    save_pack,
    save_pins,
)
from hamlet.content.rows import ChipRow, Row
from hamlet.core.text import Language
from hamlet.suggest.validate import refusal, unsafe

_LONGEST = {"ko": 24, "en": 40, "ja": 24}


@dataclass(slots=True)
class Imported:
    """What became of a file's rows."""

    good: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


class Editor:
    """Reads and changes what a folder of packs holds. `apply` puts the content into use."""

    def __init__(
        self, folder: Path | None, off: Sequence[str], apply: Callable[[Content], None]
    ) -> None:
        self._folder = folder
        self._off = tuple(off)
        self._apply = apply
        self.content = load_content(folder, self._off)

    def reload(self) -> None:
        """Read everything again and use it. Raises PackError, and then nothing changes."""
        self._use(load_content(self._folder, self._off))

    def add(self, kind: PackKind, text: str, form: str, license_: str, source: str) -> Imported:
        """Add the good rows of a text to the pack `admin-KIND`. Raises PackError.

        Without a folder they last as long as the process.
        """
        taken = take(text, form, kind, "en")
        if not taken.good:
            return taken
        if self._folder is not None:
            save_pack(self._folder, f"admin-{kind}", kind, taken.good, license_, source)
            self.reload()
        else:
            self._use(_with(self.content, kind, taken.good))
        return taken

    def pin(self, pins: Sequence[Pin]) -> None:
        """Put these first from now on, instead of those before."""
        if self._folder is not None:
            save_pins(self._folder, pins)
        self._use(replace(self.content, pins=pins))

    def _use(self, content: Content) -> None:
        self.content = content
        self._apply(content)


def take(text: str, form: str, kind: PackKind, language: Language) -> Imported:
    """The rows of a file, good and bad."""
    taken = Imported()
    for row in read_rows(text, form, kind, language, check_of(kind)):
        if isinstance(row, BadRow):
            taken.bad.append(row)
        else:
            taken.good.append(row)
    return taken


def check_of(kind: PackKind) -> Callable[[Any], str | None]:
    """What says what is wrong with a row beyond its fields."""
    return check_link if kind == "links" else check_chip


def check_chip(row: ChipRow) -> str | None:
    """What the validator of all tiers has against a chip, or None."""
    for language, label in row.text.items():
        if reason := refusal(label, language, _LONGEST[language]):
            return f"text.{language}: {reason}"
        if reason := unsafe(row.prompt[language]):
            return f"prompt.{language}: {reason}"
    return None


def _with(content: Content, kind: PackKind, rows: Sequence[Any]) -> Content:
    old: Sequence[Any] = getattr(content, kind)
    merged = {row.key: row for row in (*old, *rows)}
    changed: Any = {kind: list(merged.values())}
    return replace(content, **changed)
