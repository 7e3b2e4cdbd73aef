"""Changes the content while serving: packs, pins, and rows that are imported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hamlet.core.text import Language
from hamlet.suggest.chips.validation import label_rejection_reason, prompt_rejection_reason
from hamlet.suggest.content import (
    BadRow,
    Content,
    PackKind,
    Pin,
    check_link,
    load_content,
    parse_rows,
    save_pack,
    save_pins,
)
from hamlet.suggest.content.rows import ChipRow, Row

_MAX_LABEL_CHARS = {"ko": 24, "en": 40, "ja": 24}


@dataclass(slots=True)
class ImportResult:
    """The rows of a file, by whether they were accepted."""

    accepted: list[Row] = field(default_factory=list)
    rejected: list[BadRow] = field(default_factory=list)


class ContentEditor:
    """Reads and changes the packs of a folder, and publishes the result by `on_change`.

    One change at a time. Files are read and written in a thread, so that requests do not wait.
    """

    def __init__(
        self,
        folder: Path | None,
        disabled_packs: Sequence[str],
        on_change: Callable[[Content], Awaitable[None]],
    ) -> None:
        """Load `content` without publishing it. Raises PackError."""
        self._folder = folder
        self._disabled_packs = tuple(disabled_packs)
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self.content = load_content(folder, self._disabled_packs)

    async def reload(self) -> None:
        """Load everything again and publish it. Raises PackError, and then nothing changes."""
        async with self._lock:
            await self._load()

    async def add_rows(
        self, kind: PackKind, text: str, file_format: str, license_: str, source: str
    ) -> ImportResult:
        """Add the valid rows of a text to the pack `admin-KIND`. Raises PackError.

        Without a folder they are lost when the process ends.
        """
        result = await asyncio.to_thread(import_rows, text, file_format, kind, "en")
        if not result.accepted:
            return result
        async with self._lock:
            if self._folder is not None:
                rows = (self._folder, f"admin-{kind}", kind, result.accepted, license_, source)
                await asyncio.to_thread(save_pack, *rows)
                await self._load()
            else:
                await self._publish(_with_rows(self.content, kind, result.accepted))
        return result

    async def set_pins(self, pins: Sequence[Pin]) -> None:
        """Replace all pins."""
        async with self._lock:
            if self._folder is not None:
                await asyncio.to_thread(save_pins, self._folder, pins)
            await self._publish(replace(self.content, pins=pins))

    async def _load(self) -> None:
        await self._publish(
            await asyncio.to_thread(load_content, self._folder, self._disabled_packs)
        )

    async def _publish(self, content: Content) -> None:
        await self._on_change(content)
        self.content = content


def import_rows(text: str, file_format: str, kind: PackKind, language: Language) -> ImportResult:
    """The valid and the invalid rows of a file. `language` is that of texts without one."""
    result = ImportResult()
    for row in parse_rows(text, file_format, kind, language, row_check(kind)):
        if isinstance(row, BadRow):
            result.rejected.append(row)
        else:
            result.accepted.append(row)
    return result


def row_check(kind: PackKind) -> Callable[[Any], str | None]:
    """The function that returns what is wrong with a row beyond its fields, or None."""
    return check_link if kind == "links" else check_chip


def check_chip(row: ChipRow) -> str | None:
    """Why the chip would be rejected by the validator of all tiers, or None."""
    for language, label in row.text.items():
        if reason := label_rejection_reason(label, language, _MAX_LABEL_CHARS[language]):
            return f"text.{language}: {reason}"
        if reason := prompt_rejection_reason(row.prompt[language]):
            return f"prompt.{language}: {reason}"
    return None


def _with_rows(content: Content, kind: PackKind, rows: Sequence[Any]) -> Content:
    current: Sequence[Any] = getattr(content, kind)
    merged = {row.key: row for row in (*current, *rows)}
    changed: Any = {kind: list(merged.values())}
    return replace(content, **changed)
