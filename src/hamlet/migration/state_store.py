"""The interface of a store for the rollout document and its journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hamlet.migration.rollout_document import JournalEntry, RolloutDocument

StateTransform = Callable[[RolloutDocument], tuple[RolloutDocument, Sequence[JournalEntry]]]


class StateUnavailable(Exception):
    """The document cannot be read or written. The message never quotes the document."""


class StateStore(Protocol):
    """Stores the rollout document and its journal. All methods block."""

    def read(self) -> RolloutDocument:
        """The current document. Raises StateUnavailable."""
        ...

    def create(self, document: RolloutDocument) -> None:
        """Write the first document. Raises FileExistsError if there is one, or StateUnavailable."""
        ...

    def update(self, transform: StateTransform) -> RolloutDocument:
        """Replace the document by the result of `transform` and append to the journal, atomically.

        `transform` gets the latest document; if it raises, nothing changes. It may run more than
        once. Raises StateUnavailable.
        """
        ...

    def read_journal(self) -> list[JournalEntry]:
        """All journal entries, oldest first."""
        ...
