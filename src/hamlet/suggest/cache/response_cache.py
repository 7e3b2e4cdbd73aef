"""Responses selected from fresh cache entries, for requests with the same parameters."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgspec

from hamlet.suggest.cache.cached_fetch import CachedFetch
from hamlet.suggest.model import Chips, Links, SuggestRequest

# Fields that do not influence which items are selected from fresh entries.
_NOT_IN_KEY = {"hour", "budget_ms", "warnings", "interests", "overloaded"}
_key_fields = attrgetter(
    *(field.name for field in fields(SuggestRequest) if field.name not in _NOT_IN_KEY)
)
ResponseKey = tuple[bytes, int, int]
"""A hash of the request, and the numbers of the entries its links and chips come from."""
Sections = tuple[Links | None, Chips | None]


class ResponseCache:
    """An LRU of both sections. Keys hold a salted hash, so no text of a request is stored."""

    def __init__(self, max_entries: int = 2_000) -> None:
        self._max_entries = max_entries
        self._salt = secrets.token_bytes(32)
        self._entries: OrderedDict[ResponseKey, Sections] = OrderedDict()

    def make_key(
        self,
        request: SuggestRequest,
        link_fetch: CachedFetch[Any] | None,
        chip_fetch: CachedFetch[Any] | None,
    ) -> ResponseKey | None:
        """The key of a response; None if a wanted section has no fresh entry."""
        links = _fresh_entry_number(link_fetch, request.want_links)
        chips = _fresh_entry_number(chip_fetch, request.want_chips)
        if links is None or chips is None:
            return None
        request_hash = hashlib.blake2b(
            msgspec.json.encode(_key_fields(request)), key=self._salt, digest_size=16
        )
        return request_hash.digest(), links, chips

    def get(self, key: ResponseKey | None) -> Sections | None:
        """The sections of a response, without tokens."""
        if key is None or key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: ResponseKey, links: Links | None, chips: Chips | None) -> None:
        """Store the sections of a response, and evict the least recently used if it is full."""
        self._entries[key] = links, chips
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def invalidate(self, entry_number: int) -> None:
        """Remove the responses selected from this entry, which no request can reach any more."""
        for key in [key for key in self._entries if entry_number in key]:
            del self._entries[key]

    def clear(self) -> None:
        """Remove all responses."""
        self._entries.clear()


def _fresh_entry_number(fetch: CachedFetch[Any] | None, is_wanted: bool) -> int | None:
    """The number of the fresh entry; 0 if the section is not wanted, None if there is none."""
    if not is_wanted:
        return 0
    return fetch.entry.number if fetch is not None and fetch.is_hit else None
