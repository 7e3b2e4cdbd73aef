"""Cache keys that reveal none of the text they are made of."""

from __future__ import annotations

import hashlib
from typing import Protocol

from hamlet.core.text import normalize

_MAX_KEY_BYTES = 64
"""The longest key that BLAKE2b takes (RFC 7693, section 2.1)."""


class KeyHasher(Protocol):
    """Makes one key of the texts that a cached result depends on."""

    def __call__(self, *parts: str) -> str: ...


def key_hasher(salt: bytes) -> KeyHasher:
    """A hasher keyed by `salt`: without the salt, a text cannot be guessed from its key."""

    def hash_parts(*parts: str) -> str:
        text = "\x1f".join([_normalize(part) if part else "" for part in parts])
        return hashlib.blake2b(text.encode(), key=salt[:_MAX_KEY_BYTES], digest_size=16).hexdigest()

    return hash_parts


def _normalize(text: str) -> str:
    """The text without the differences that do not change what is meant."""
    return " ".join(normalize(text).split()).strip(" .?!。？！")
