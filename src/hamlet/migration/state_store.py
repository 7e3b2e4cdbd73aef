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

from hamlet.migration.rollout_document import JournalEntry, RolloutDocument

StateTransform = Callable[[RolloutDocument], tuple[RolloutDocument, Sequence[JournalEntry]]]


class StateUnavailable(Exception):
    """The document cannot be read or written. Says why, and never what stood in it."""


class StateStore(Protocol):
    """Keeps the document and its journal."""

    def read(self) -> RolloutDocument:
        """The document. Raises StateUnreadable."""
        ...

    def create(self, document: RolloutDocument) -> None:
        """Write the first document. Raises FileExistsError if there is one."""
        ...

    def update(self, transform: StateTransform) -> RolloutDocument:
        """Replace the document by what `make` makes of it, and write the journal, as one step.

        `make` gets the latest document and may raise to change nothing. Raises StateUnreadable.
        """
        ...

    def read_journal(self) -> list[JournalEntry]:
        """All that was ever changed, oldest first."""
        ...


class FileStore:
    """The store of one host, or of a volume that all replicas mount."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal_path = path.with_suffix(".journal.jsonl")

    def read(self) -> RolloutDocument:
        try:
            return RolloutDocument.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise StateUnavailable(f"{self._path.name}: {type(error).__name__}") from None

    def create(self, document: RolloutDocument) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("x", encoding="utf-8") as file:
            file.write(document.to_json())

    def update(self, transform: StateTransform) -> RolloutDocument:
        with self._lock():
            document, entries = transform(self.read())
            try:
                self._replace_file(document)
                with self._journal_path.open("a", encoding="utf-8") as file:
                    file.writelines(entry.model_dump_json() + "\n" for entry in entries)
            except OSError as error:
                raise StateUnavailable(f"{self._path.name}: {type(error).__name__}") from None
            return document

    def read_journal(self) -> list[JournalEntry]:
        try:
            lines = self._journal_path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [JournalEntry.model_validate_json(line) for line in lines]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # The document itself is replaced, so that the lock is on a file that stays.
        try:
            fd = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise StateUnavailable(f"{self._path.name}: {type(error).__name__}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _replace_file(self, document: RolloutDocument) -> None:
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, prefix=".state-", delete=False, encoding="utf-8"
        ) as file:
            file.write(document.to_json())
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        os.replace(file.name, self._path)


def advance_epoch(
    document: RolloutDocument,
    entries: Sequence[JournalEntry],
    clock: Callable[[], float] = time.time,
) -> RolloutDocument:
    """The document with its new epoch, which the entries carry already."""
    epoch = max((entry.epoch for entry in entries), default=document.epoch)
    return document.model_copy(update={"epoch": epoch, "written_at": clock()})
