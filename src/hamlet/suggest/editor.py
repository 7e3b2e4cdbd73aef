"""Changes of content while serving: packs, pins, and what happens to rows from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hamlet.core.text import Language
from hamlet.suggest.chips.validation import refusal, unsafe
from hamlet.suggest.content import (
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
from hamlet.suggest.content.rows import ChipRow, Row

_LONGEST = {"ko": 24, "en": 40, "ja": 24}


@dataclass(slots=True)
class Imported:
    """What became of a file's rows."""

    good: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


class Editor:
    """Reads and changes what a folder of packs holds. `apply` puts the content into use.

    One change at a time; files are read and written in a thread, for answers do not wait.
    """

    def __init__(
        self, folder: Path | None, off: Sequence[str], apply: Callable[[Content], Awaitable[None]]
    ) -> None:
        """Read the packs, for `content`; to use them is up to the caller. Raises PackError."""
        self._folder = folder
        self._off = tuple(off)
        self._apply = apply
        self._changing = asyncio.Lock()
        self.content = load_content(folder, self._off)

    async def reload(self) -> None:
        """Read everything again and use it. Raises PackError, and then nothing changes."""
        async with self._changing:
            await self._read()

    async def add(
        self, kind: PackKind, text: str, form: str, license_: str, source: str
    ) -> Imported:
        """Add the good rows of a text to the pack `admin-KIND`. Raises PackError.

        Without a folder they last as long as the process.
        """
        taken = await asyncio.to_thread(take, text, form, kind, "en")
        if not taken.good:
            return taken
        async with self._changing:
            if self._folder is not None:
                rows = (self._folder, f"admin-{kind}", kind, taken.good, license_, source)
                await asyncio.to_thread(save_pack, *rows)
                await self._read()
            else:
                await self._use(_with(self.content, kind, taken.good))
        return taken

    async def pin(self, pins: Sequence[Pin]) -> None:
        """Put these first from now on, instead of those before."""
        async with self._changing:
            if self._folder is not None:
                await asyncio.to_thread(save_pins, self._folder, pins)
            await self._use(replace(self.content, pins=pins))

    async def _read(self) -> None:
        await self._use(await asyncio.to_thread(load_content, self._folder, self._off))

    async def _use(self, content: Content) -> None:
        await self._apply(content)
        self.content = content


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
