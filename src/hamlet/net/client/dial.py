"""Opening one connection: names to addresses that may be an upstream's, TCP, TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aiohappyeyeballs import start_connection

from hamlet.net.client.addresses import is_forbidden_address
from hamlet.net.client.failures import connect_failure, is_local_limit
from hamlet.net.client.resolver import AddressInfo, running_resolver

P = TypeVar("P", bound=asyncio.BaseProtocol)

# RFC 8305 section 5: the next address is tried beside one that has not answered for so long.
_CONNECTION_ATTEMPT_DELAY_S = 0.25


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
        raise connect_failure(error) from None


async def _resolve_host(origin: Origin) -> list[AddressInfo]:
    found = await running_resolver().resolve(origin.host, origin.port)
    allowed = [info for info in found if not is_forbidden_address(str(info[4][0]))]
    if not allowed:
        raise OSError("the name resolves to an address that no upstream may have")
    return allowed


async def _connect_first(
    addresses: Sequence[AddressInfo], origin: Origin, protocol_factory: Callable[[], P]
) -> P:
    loop = asyncio.get_running_loop()
    name = origin.host if origin.tls else None
    while True:
        sock = await start_connection(
            addresses, happy_eyeballs_delay=_CONNECTION_ATTEMPT_DELAY_S, interleave=1
        )
        peer = ""
        with suppress(OSError):
            peer = sock.getpeername()[0]
        try:
            _, connected = await loop.create_connection(
                protocol_factory, sock=sock, ssl=origin.tls, server_hostname=name
            )
        except OSError as error:
            sock.close()
            # An address whose TLS fails is no better for having been the first to connect.
            addresses = [info for info in addresses if info[4][0] != peer] if peer else []
            if not addresses or is_local_limit(error):
                raise
        except BaseException:
            sock.close()
            raise
        else:
            return connected
