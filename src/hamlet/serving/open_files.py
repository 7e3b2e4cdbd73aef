"""How many clients the limit on open files allows."""

from __future__ import annotations

import resource

_RESERVED_FILES = 32


def max_client_connections() -> int:
    """The number of clients that can be served, each with an upstream connection of its own.

    Raises the soft limit on open files to the hard limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(8, (hard - _RESERVED_FILES) // 2)
