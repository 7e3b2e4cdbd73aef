"""The rollout document as a file, with its journal next to it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from hamlet.migration.rollout_document import JournalEntry, RolloutDocument
from hamlet.migration.state_store import StateTransform, StateUnavailable


class FileStore:
    """A store for one host, or for a volume that all replicas mount.

    Writers exclude each other by a lock file; readers see the old document or the new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal_path = path.with_suffix(".journal.jsonl")

    def read(self) -> RolloutDocument:
        try:
            return RolloutDocument.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise self._unavailable(error) from None

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
                raise self._unavailable(error) from None
            return document

    def read_journal(self) -> list[JournalEntry]:
        try:
            lines = self._journal_path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [JournalEntry.model_validate_json(line) for line in lines]

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # The document file is replaced at every write, so the lock is a file that stays.
        try:
            fd = os.open(self._path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise self._unavailable(error) from None
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

    def _unavailable(self, error: Exception) -> StateUnavailable:
        return StateUnavailable(f"{self._path.name}: {type(error).__name__}")
