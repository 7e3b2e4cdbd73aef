"""TLS to upstreams."""

from __future__ import annotations

import functools
import ssl


@functools.lru_cache(maxsize=16)
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A verifying client context, shared: making one costs some 50 ms. Raises OSError.

    `ca_file` (PEM) takes the place of the system's authorities.
    """
    return ssl.create_default_context(cafile=ca_file)
