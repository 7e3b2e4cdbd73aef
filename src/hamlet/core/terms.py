"""What a route demands of an upstream beyond the request itself."""

from __future__ import annotations

from msgspec import Struct


class Terms(Struct, frozen=True):
    """`byte_idle_s` is the longest silence on the wire of a stream, None leaves it to the settings.

    `require_filter` refuses an answer of which the vendor says that its content filter did not run.
    """

    byte_idle_s: float | None = None
    require_filter: bool = False


NO_TERMS = Terms()
