"""The document in Redis, for hosts that share no volume: compare and set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from hamlet.migration.model import Document, Entry
from hamlet.migration.store import Change, StateUnreadable

_STATE, _JOURNAL = "hamlet:cutover:state", "hamlet:cutover:journal"
_TIMEOUT_S = 2.0


class RedisStore:
    """Needs the extra `redis`."""

    def __init__(self, url: str) -> None:
        import redis

        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def read(self) -> Document:
        try:
            return _document(self._client.get(_STATE))
        except self._errors as error:
            raise StateUnreadable(f"redis: {type(error).__name__}") from None

    def create(self, document: Document) -> None:
        try:
            if not self._client.set(_STATE, document.text(), nx=True):
                raise FileExistsError(_STATE)
        except self._errors as error:
            if isinstance(error, FileExistsError):
                raise
            raise StateUnreadable(f"redis: {type(error).__name__}") from None

    def change(self, make: Change) -> Document:
        made: list[Document] = []

        def step(pipe: Any) -> None:
            # Runs again if someone else has changed the key in the meantime.
            document, entries = make(_document(pipe.get(_STATE)))
            pipe.multi()
            pipe.set(_STATE, document.text())
            _append(pipe, entries)
            made.append(document)

        try:
            self._client.transaction(step, _STATE)
        except self._errors as error:
            raise StateUnreadable(f"redis: {type(error).__name__}") from None
        return made[-1]

    def journal(self) -> list[Entry]:
        try:
            lines = self._client.lrange(_JOURNAL, 0, -1)
        except self._errors as error:
            raise StateUnreadable(f"redis: {type(error).__name__}") from None
        return [Entry.model_validate_json(line) for line in lines]


def _append(pipe: Any, entries: Sequence[Entry]) -> None:
    for entry in entries:
        pipe.rpush(_JOURNAL, entry.model_dump_json())


def _document(text: bytes | None) -> Document:
    if text is None:
        raise StateUnreadable("redis: there is no document")
    try:
        return Document.model_validate_json(text)
    except ValidationError:
        raise StateUnreadable("redis: what stands there is no document") from None
