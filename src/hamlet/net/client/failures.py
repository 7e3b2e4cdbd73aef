"""Which ProviderError a failure to connect is, for every transport."""

from __future__ import annotations

import errno

from hamlet.core import errors
from hamlet.core.errors import ProviderError

LOCAL_LIMIT_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def is_local_limit(error: Exception) -> bool:
    """Whether this machine, not the upstream, is out of something."""
    return isinstance(error, OSError) and error.errno in LOCAL_LIMIT_ERRNOS


def connect_failure(error: Exception) -> ProviderError:
    """The error to raise for one that came of resolving a name, of TCP or of TLS."""
    if is_local_limit(error):
        return errors.LocalLimit("hamlet is out of connections", phase="connect", retry_after=1.0)
    if isinstance(error, TimeoutError):
        return errors.UpstreamTimeout("connecting to the upstream took too long", phase="connect")
    return errors.UpstreamUnavailable("the upstream cannot be reached", phase="connect")
