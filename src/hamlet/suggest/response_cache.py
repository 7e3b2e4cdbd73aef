"""Answers that came whole out of the pools, for whoever asks the same of the same batches."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgspec

from hamlet.suggest.cached_fetch import CachedFetch
from hamlet.suggest.model import Chips, Links, SuggestRequest
from hamlet.suggest.section_result import SectionResult

# What a fresh batch is chosen from by: all of an ask but what has no part in the choice.
_NOT_IN_KEY = {"hour", "budget_ms", "warnings", "interests", "overloaded"}
_key_fields = attrgetter(
    *(field.name for field in fields(SuggestRequest) if field.name not in _NOT_IN_KEY)
)
ResponseKey = tuple[bytes, int, int]
Sections = tuple[Links | None, Chips | None]


class ResponseCache:
    """An LRU of both halves. An ask is known by a salted hash, so none of its text is kept."""

    def __init__(self, max_entries: int = 2_000) -> None:
        self._max_entries = max_entries
        self._salt = secrets.token_bytes(32)
        self._entries: OrderedDict[ResponseKey, Sections] = OrderedDict()

    def make_key(
        self,
        ask: SuggestRequest,
        link_fetch: CachedFetch[Any] | None,
        chip_fetch: CachedFetch[Any] | None,
    ) -> ResponseKey | None:
        """What this answer is known by; None if a half that is wanted is not in its pool, fresh."""
        links, chips = (
            _fresh_entry_number(link_fetch, ask.want_links),
            _fresh_entry_number(chip_fetch, ask.want_chips),
        )
        if links is None or chips is None:
            return None
        request_hash = hashlib.blake2b(
            msgspec.json.encode(_key_fields(ask)), key=self._salt, digest_size=16
        )
        return request_hash.digest(), links, chips

    def get(self, key: ResponseKey | None) -> Sections | None:
        """The halves of an answer."""
        if key is None or key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: ResponseKey, links: Links | None, chips: Chips | None) -> None:
        """Keep an answer, and let go of the one longest unasked for if there are too many."""
        self._entries[key] = links, chips
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def invalidate(self, entry_number: int) -> None:
        """Forget what came from this batch: it is outdated, and nobody can ask for it any more."""
        for key in [key for key in self._entries if entry_number in key]:
            del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


def to_results(
    sections: Sections, link_fetch: CachedFetch[Any] | None, chip_fetch: CachedFetch[Any] | None
) -> tuple[SectionResult[Links], SectionResult[Chips]]:
    """The halves, with what the pools say of them now."""
    links, chips = sections
    return (
        SectionResult(links, (), link_fetch.cache_state())
        if links and link_fetch
        else SectionResult(),
        SectionResult(chips, (), chip_fetch.cache_state())
        if chips and chip_fetch
        else SectionResult(),
    )


def _fresh_entry_number(fetch: CachedFetch[Any] | None, is_wanted: bool) -> int | None:
    """The number of its batch; 0 for a half that is not wanted, None if it is not to be had."""
    if not is_wanted:
        return 0
    return fetch.entry.number if fetch is not None and fetch.is_hit else None
