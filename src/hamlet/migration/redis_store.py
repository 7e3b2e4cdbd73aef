"""The rollout document in Redis, for hosts that share no volume: compare and set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from hamlet.migration.rollout_document import JournalEntry, RolloutDocument
from hamlet.migration.state_store import StateTransform, StateUnavailable

_STATE_KEY, _JOURNAL_KEY = "hamlet:cutover:state", "hamlet:cutover:journal"
_TIMEOUT_S = 2.0


class RedisStateStore:
    """Needs the extra `redis`."""

    def __init__(self, url: str) -> None:
        import redis

        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def read(self) -> RolloutDocument:
        try:
            return _parse_document(self._client.get(_STATE_KEY))
        except self._errors as error:
            raise _unavailable(error) from None

    def create(self, document: RolloutDocument) -> None:
        try:
            created = self._client.set(_STATE_KEY, document.to_json(), nx=True)
        except self._errors as error:
            raise _unavailable(error) from None
        if not created:
            raise FileExistsError(_STATE_KEY)

    def update(self, transform: StateTransform) -> RolloutDocument:
        written: list[RolloutDocument] = []

        def compare_and_set(pipe: Any) -> None:
            # redis-py runs this again if another client has changed the key in the meantime.
            document, entries = transform(_parse_document(pipe.get(_STATE_KEY)))
            pipe.multi()
            pipe.set(_STATE_KEY, document.to_json())
            _append_entries(pipe, entries)
            written.append(document)

        try:
            self._client.transaction(compare_and_set, _STATE_KEY)
        except self._errors as error:
            raise _unavailable(error) from None
        return written[-1]

    def read_journal(self) -> list[JournalEntry]:
        try:
            lines = self._client.lrange(_JOURNAL_KEY, 0, -1)
        except self._errors as error:
            raise _unavailable(error) from None
        return [JournalEntry.model_validate_json(line) for line in lines]


def _unavailable(error: Exception) -> StateUnavailable:
    return StateUnavailable(f"redis: {type(error).__name__}")


def _append_entries(pipe: Any, entries: Sequence[JournalEntry]) -> None:
    for entry in entries:
        pipe.rpush(_JOURNAL_KEY, entry.model_dump_json())


def _parse_document(text: bytes | None) -> RolloutDocument:
    if text is None:
        raise StateUnavailable("redis: there is no document")
    try:
        return RolloutDocument.model_validate_json(text)
    except ValidationError:
        raise StateUnavailable("redis: the stored value is not a valid document") from None
