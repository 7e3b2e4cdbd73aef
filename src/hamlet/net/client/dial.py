"""Opening one connection: name resolution to allowed addresses, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hamlet.net.client.addresses import is_forbidden_address
from hamlet.net.client.failures import connect_failure, is_local_limit

P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect to; `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None


async def dial(origin: Origin, protocol_factory: Callable[[], P], timeout_s: float) -> P:
    """Connect to the first address that accepts; returns the protocol. Raises ProviderError."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _connect_first(await _resolve_host(origin), origin, protocol_factory)
    except (OSError, UnicodeError) as error:
        raise connect_failure(error) from None


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
            if not addresses or is_local_limit(error):
                raise
        else:
            return connected
