"""Which ProviderError a failure to connect is, and why, for every transport."""

from __future__ import annotations

import errno
import socket
import ssl

from hamlet.core import errors
from hamlet.core.errors import FailureCause, ProviderError

LOCAL_LIMIT_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of <openssl/x509_vfy.h>.
_NAME_MISMATCH_CODES = {62, 64}

_EXPLANATIONS: dict[FailureCause, str] = {
    "dns": "its name does not resolve",
    "refused": "the connection was refused",
    "reset": "the connection was reset",
    "timeout": "connecting took too long",
    "tls_trust": "its certificate is not trusted",
    "tls_name": "its certificate is for another name",
    "tls": "the TLS handshake failed",
    "unreachable": "its address cannot be reached",
}


def is_local_limit(error: Exception) -> bool:
    """Whether this machine, not the upstream, is out of something."""
    return isinstance(error, OSError) and error.errno in LOCAL_LIMIT_ERRNOS


def connect_failure(error: Exception) -> ProviderError:
    """The error to raise for one that came of resolving a name, of TCP or of TLS."""
    if is_local_limit(error):
        return errors.LocalLimit("hamlet is out of connections", phase="connect", retry_after=1.0)
    if isinstance(error, TimeoutError):
        message = "connecting to the upstream took too long"
        return errors.UpstreamTimeout(message, phase="connect", cause="timeout")
    cause = failure_cause(error)
    message = f"the upstream cannot be reached: {_EXPLANATIONS[cause]}"
    return errors.UpstreamUnavailable(message, phase="connect", cause=cause)


def failure_cause(error: Exception) -> FailureCause:
    """Why a connection could not be opened."""
    # An OSError made for several addresses, and aiohttp's errors, carry what happened beneath.
    beneath = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
    if beneath is not None and beneath is not error:
        return failure_cause(beneath)
    if isinstance(error, socket.gaierror | UnicodeError):
        return "dns"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_name" if error.verify_code in _NAME_MISMATCH_CODES else "tls_trust"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "reset" if isinstance(error, ConnectionError) else "unreachable"
