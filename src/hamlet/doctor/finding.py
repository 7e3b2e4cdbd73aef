"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "skipped", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what was checked, its level, a message, and advice if needed.

    Texts hold no secret: no key, no user or password of a URL, no unredacted text of a vendor.
    """

    check: str
    subject: str
    level: Level
    message: str
    advice: str = ""
