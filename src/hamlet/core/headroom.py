"""What the headers of a reply say about the capacity of its deployment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Headroom:
    """None where the vendor sent nothing.

    `utilisation` is the used part of reserved capacity (1.0 is full); `tokens` and `requests` are
    what is left of a quota; `spilled`: another deployment served the call, as this one is full.
    """

    utilisation: float | None = None
    tokens: int | None = None
    requests: int | None = None
    spilled: bool = False
