"""Ids that stay the same for the same thing, so that clients and events can tell."""

from __future__ import annotations

import hashlib


def link_id(canonical_url: str) -> str:
    """The id of a link, by its canonical URL."""
    return f"ln_{_digest(canonical_url)}"


def chip_id(language: str, prompt: str) -> str:
    """The id of a chip, by its language and prompt."""
    return f"ch_{_digest(language + prompt)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
