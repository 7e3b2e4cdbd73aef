"""Opening one connection: names to addresses that may be an upstream's, TCP, TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hamlet.core import errors
from hamlet.core.errors import ProviderError
from hamlet.net.client.addresses import is_forbidden_address

P = TypeVar("P", bound=asyncio.BaseProtocol)

_LOCAL_LIMIT_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect to; `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None


async def dial(origin: Origin, protocol_factory: Callable[[], P], timeout_s: float) -> P:
    """A connected protocol, at the first address that answers. Raises ProviderError."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _connect_first(await _resolve_host(origin), origin, protocol_factory)
    except (OSError, UnicodeError) as error:
        raise _to_provider_error(error) from None


async def _resolve_host(origin: Origin) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM
    )
    addresses = [str(info[4][0]) for info in found]
    allowed = [address for address in addresses if not is_forbidden_address(address)]
    if not allowed:
        raise OSError("the name leads to an address that is no upstream's")
    return allowed


async def _connect_first(
    addresses: list[str], origin: Origin, protocol_factory: Callable[[], P]
) -> P:
    loop = asyncio.get_running_loop()
    name = origin.host if origin.tls else None
    while True:
        address = addresses.pop(0)
        try:
            _, connected = await loop.create_connection(
                protocol_factory, address, origin.port, ssl=origin.tls, server_hostname=name
            )
        except OSError as error:
            if not addresses or error.errno in _LOCAL_LIMIT_ERRNOS:
                raise
        else:
            return connected


def _to_provider_error(error: OSError | UnicodeError) -> ProviderError:
    if isinstance(error, OSError) and error.errno in _LOCAL_LIMIT_ERRNOS:
        return errors.LocalLimit("hamlet is out of connections", phase="connect", retry_after=1.0)
    if isinstance(error, TimeoutError):
        return errors.UpstreamTimeout("connecting to the upstream took too long", phase="connect")
    return errors.UpstreamUnavailable("the upstream cannot be reached", phase="connect")
