"""Opening one connection: names to addresses that may be an upstream's, TCP, TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aiohappyeyeballs import start_connection

from hamlet.core import errors
from hamlet.core.errors import FailureCause, ProviderError
from hamlet.net.client.addresses import is_forbidden_address
from hamlet.net.client.resolver import AddressInfo, running_resolver

P = TypeVar("P", bound=asyncio.BaseProtocol)

_LOCAL_LIMIT_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# RFC 8305 section 5: the next address is tried beside one that has not answered for so long.
_CONNECTION_ATTEMPT_DELAY_S = 0.25
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of <openssl/x509_vfy.h>.
_NAME_MISMATCH = {62, 64}

_CAUSES: dict[FailureCause, str] = {
    "dns": "its name does not resolve",
    "refused": "the connection was refused",
    "reset": "the connection was reset",
    "tls_trust": "its certificate is not trusted",
    "tls_name": "its certificate is for another name",
    "tls": "the TLS handshake failed",
    "unreachable": "there is no way to its address",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect to; `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None


async def dial(origin: Origin, protocol_factory: Callable[[], P], timeout_s: float) -> P:
    """A connected protocol, at the first address that answers. Raises ProviderError.

    Several addresses are raced (RFC 8305): one that swallows what is sent costs a quarter second.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _connect_first(await _resolve_host(origin), origin, protocol_factory)
    except (OSError, UnicodeError) as error:
        raise to_provider_error(error) from None


async def _resolve_host(origin: Origin) -> list[AddressInfo]:
    found = await running_resolver().resolve(origin.host, origin.port)
    allowed = [info for info in found if not is_forbidden_address(str(info[4][0]))]
    if not allowed:
        raise OSError("the name leads to an address that is no upstream's")
    return allowed


async def _connect_first(
    addresses: Sequence[AddressInfo], origin: Origin, protocol_factory: Callable[[], P]
) -> P:
    loop = asyncio.get_running_loop()
    name = origin.host if origin.tls else None
    while True:
        sock = await start_connection(
            addresses,
            happy_eyeballs_delay=_CONNECTION_ATTEMPT_DELAY_S,
            interleave=1,
        )
        peer: tuple[str | int, ...] = ()
        with suppress(OSError):
            peer = sock.getpeername()
        try:
            _, connected = await loop.create_connection(
                protocol_factory, sock=sock, ssl=origin.tls, server_hostname=name
            )
        except OSError as error:
            sock.close()
            # An address whose TLS fails is no better for having been the first to connect.
            addresses = [info for info in addresses if info[4][:1] != peer[:1]] if peer else []
            if not addresses or error.errno in _LOCAL_LIMIT_ERRNOS:
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return connected


def to_provider_error(error: OSError | UnicodeError) -> ProviderError:
    """What a connection that could not be opened means to a call."""
    if isinstance(error, OSError) and error.errno in _LOCAL_LIMIT_ERRNOS:
        return errors.LocalLimit("hamlet is out of connections", phase="connect", retry_after=1.0)
    if isinstance(error, TimeoutError):
        message = "connecting to the upstream took too long"
        return errors.UpstreamTimeout(message, phase="connect", cause="timeout")
    cause = failure_cause(error)
    message = f"the upstream cannot be reached: {_CAUSES[cause]}"
    return errors.UpstreamUnavailable(message, phase="connect", cause=cause)


def failure_cause(error: OSError | UnicodeError) -> FailureCause:
    """Why a connection could not be opened, for logs, metrics and the doctor."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "dns"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_name" if error.verify_code in _NAME_MISMATCH else "tls_trust"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):
        return "reset"
    return "unreachable"
