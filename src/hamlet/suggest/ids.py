"""Ids that are the same for the same item in every process, so that events can refer to them."""

from __future__ import annotations

import hashlib


def link_id(canonical_url: str) -> str:
    """The id of a link, made of its canonical URL."""
    return f"ln_{_digest(canonical_url)}"


def chip_id(language: str, prompt: str) -> str:
    """The id of a chip, made of its language and its prompt."""
    return f"ch_{_digest(language + prompt)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
