"""Where the document is kept: a file beside its journal, replaced whole and under a lock."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from hamlet.migration.model import Document, Entry

Change = Callable[[Document], tuple[Document, Sequence[Entry]]]


class StateUnreadable(Exception):
    """The document cannot be read or written. Says why, and never what stood in it."""


class StateStore(Protocol):
    """Keeps the document and its journal."""

    def read(self) -> Document:
        """The document. Raises StateUnreadable."""
        ...

    def create(self, document: Document) -> None:
        """Write the first document. Raises FileExistsError if there is one."""
        ...

    def change(self, make: Change) -> Document:
        """Replace the document by what `make` makes of it, and write the journal, as one step.

        `make` gets the latest document and may raise to change nothing. Raises StateUnreadable.
        """
        ...

    def journal(self) -> list[Entry]:
        """All that was ever changed, oldest first."""
        ...


class FileStore:
    """The store of one host, or of a volume that all replicas mount."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal = path.with_suffix(".journal.jsonl")

    def read(self) -> Document:
        try:
            return Document.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise StateUnreadable(f"{self._path.name}: {type(error).__name__}") from None

    def create(self, document: Document) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("x", encoding="utf-8") as file:
            file.write(document.text())

    def change(self, make: Change) -> Document:
        with self._locked():
            document, entries = make(self.read())
            try:
                self._put(document)
                with self._journal.open("a", encoding="utf-8") as file:
                    file.writelines(entry.model_dump_json() + "\n" for entry in entries)
            except OSError as error:
                raise StateUnreadable(f"{self._path.name}: {type(error).__name__}") from None
            return document

    def journal(self) -> list[Entry]:
        try:
            lines = self._journal.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [Entry.model_validate_json(line) for line in lines]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The document itself is replaced, so that the lock is on a file that stays.
        try:
            fd = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StateUnreadable(f"{self._path.name}: {type(error).__name__}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _put(self, document: Document) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, prefix=".state-", delete=False, encoding="utf-8"
        ) as file:
            file.write(document.text())
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        os.replace(file.name, self._path)


def changed(
    document: Document, entries: Sequence[Entry], now: Callable[[], float] = time.time
) -> Document:
    """The document with its new epoch, which the entries carry already."""
    epoch = max((entry.epoch for entry in entries), default=document.epoch)
    return document.model_copy(update={"epoch": epoch, "written_at": now()})
