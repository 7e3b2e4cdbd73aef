"""Answers that came whole out of the pools, for whoever asks the same of the same batches."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgspec

from hamlet.suggest.cached_fetch import Work
from hamlet.suggest.model import Ask, Chips, Links
from hamlet.suggest.outcome import Outcome

# What a fresh batch is chosen from by: all of an ask but what has no part in the choice.
_APART = {"hour", "budget_ms", "warnings", "interests", "overloaded"}
_asked = attrgetter(*(field.name for field in fields(Ask) if field.name not in _APART))
Key = tuple[bytes, int, int]
Halves = tuple[Links | None, Chips | None]


class Hits:
    """An LRU of both halves. An ask is known by a salted hash, so none of its text is kept."""

    def __init__(self, most: int = 2_000) -> None:
        self._most = most
        self._salt = secrets.token_bytes(32)
        self._kept: OrderedDict[Key, Halves] = OrderedDict()

    def key(self, ask: Ask, searching: Work[Any] | None, writing: Work[Any] | None) -> Key | None:
        """What this answer is known by; None if a half that is wanted is not in its pool, fresh."""
        links, chips = _fresh(searching, ask.want_links), _fresh(writing, ask.want_chips)
        if links is None or chips is None:
            return None
        asked = hashlib.blake2b(msgspec.json.encode(_asked(ask)), key=self._salt, digest_size=16)
        return asked.digest(), links, chips

    def get(self, key: Key | None) -> Halves | None:
        """The halves of an answer."""
        if key is None or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: Key, links: Links | None, chips: Chips | None) -> None:
        """Keep an answer, and let go of the one longest unasked for if there are too many."""
        self._kept[key] = links, chips
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, number: int) -> None:
        """Forget what came from this batch: it is outdated, and nobody can ask for it any more."""
        for key in [key for key in self._kept if number in key]:
            del self._kept[key]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def recalled(
    halves: Halves, searching: Work[Any] | None, writing: Work[Any] | None
) -> tuple[Outcome[Links], Outcome[Chips]]:
    """The halves, with what the pools say of them now."""
    links, chips = halves
    return (
        Outcome(links, (), searching.state()) if links and searching else Outcome(),
        Outcome(chips, (), writing.state()) if chips and writing else Outcome(),
    )


def _fresh(work: Work[Any] | None, wanted: bool) -> int | None:
    """The number of its batch; 0 for a half that is not wanted, None if it is not to be had."""
    if not wanted:
        return 0
    return work.batch.number if work is not None and work.had else None
