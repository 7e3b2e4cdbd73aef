"""The host's side of the contract: hands out transports and closes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from hamlet.net.client.pool import PoolStats
from hamlet.net.client.transport import HttptoolsTransport
from hamlet.spi.http import Transport
from hamlet.spi.runtime import Log
from hamlet.spi.settings import ProviderSettings, TransportName

DEFAULT_TRANSPORT: TransportName = "httptools"


class SilentLog:
    """A Log that discards everything."""

    def debug(self, event: str, **fields: Any) -> None:
        return

    info = warning = error = debug


class HostRuntime:
    """The Runtime of one provider instance; owns its transports.

    `transport` is the default for providers whose settings name none.
    """

    def __init__(
        self, log: Log, transport: TransportName = DEFAULT_TRANSPORT, name: str = ""
    ) -> None:
        self._log = log
        self.name = name
        self._default = transport
        self._transports: list[Transport] = []

    @property
    def log(self) -> Log:
        return self._log

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        own = (settings.transport or self._default) == "httptools"
        transport = (HttptoolsTransport if own else _aiohttp_transport())(settings, headers)
        self._transports.append(transport)
        return transport

    def now(self) -> float:
        return time.monotonic()

    async def warm(self) -> None:
        """Open the `prewarm` connections of the settings."""
        for transport in self._transports:
            if isinstance(transport, HttptoolsTransport):
                await transport.warm()

    def pool_stats(self) -> PoolStats | None:
        """The connections of its transports; None if none of them counts."""
        total: PoolStats | None = None
        for transport in self._transports:
            if isinstance(transport, HttptoolsTransport):
                total = transport.pool_stats().plus(total or PoolStats())
        return total

    async def aclose(self) -> None:
        """Close every transport handed out."""
        for transport in self._transports:
            await transport.aclose()


def _aiohttp_transport() -> Callable[[ProviderSettings, Mapping[str, str]], Transport]:
    # Importing aiohttp would be a quarter of all imports, and most processes never use it.
    from hamlet.net.client.aiohttp_transport import AiohttpTransport

    return AiohttpTransport
