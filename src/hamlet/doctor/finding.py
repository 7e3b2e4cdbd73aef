"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "skipped", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: which check, of what, how it is, and what to do about it.

    Texts hold no secret: no key, no URL's user or password, nothing that a vendor said unredacted.
    """

    check: str
    subject: str
    level: Level
    message: str
    advice: str = ""
