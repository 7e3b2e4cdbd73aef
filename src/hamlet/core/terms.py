"""What a route requires of an upstream beyond the request itself."""

from __future__ import annotations

from msgspec import Struct


class Terms(Struct, frozen=True):
    """`byte_idle_s` bounds the seconds between two reads of a stream; None: as the settings say.

    `require_filter` rejects a response on which the vendor's content filter did not run.
    """

    byte_idle_s: float | None = None
    require_filter: bool = False


NO_TERMS = Terms()
