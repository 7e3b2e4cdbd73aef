"""What the headers of an answer say of the capacity behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Headroom:
    """None where the vendor said nothing.

    `utilisation` is the used part of reserved capacity (1.0 is full); `tokens` and `requests` are
    what is left of a quota; `spilled` says that another deployment answered, as this one is full.
    """

    utilisation: float | None = None
    tokens: int | None = None
    requests: int | None = None
    spilled: bool = False
