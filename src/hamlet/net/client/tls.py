"""TLS to upstreams."""

from __future__ import annotations

import functools
import ssl


@functools.lru_cache(maxsize=16)
def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A verifying client context, cached since making one takes some 50 ms. Raises OSError.

    `ca_file` (PEM) replaces the system's certificate authorities.
    """
    return ssl.create_default_context(cafile=ca_file)
