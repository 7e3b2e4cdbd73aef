"""The host's side of the contract: hands out transports and closes them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hamlet.spi.aiohttp_transport import AiohttpTransport
from hamlet.spi.http import Transport
from hamlet.spi.runtime import Log
from hamlet.spi.settings import ProviderSettings


class HostRuntime:
    """A Runtime for one provider instance: its transports live and die with it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._transports: list[Transport] = []

    @property
    def log(self) -> Log:
        return self._log

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        transport = AiohttpTransport(settings, headers)
        self._transports.append(transport)
        return transport

    def now(self) -> float:
        return time.monotonic()

    async def aclose(self) -> None:
        """Close every transport handed out."""
        for transport in self._transports:
            await transport.aclose()
