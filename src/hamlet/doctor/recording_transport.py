"""Records what providers do with their transports: which URLs they call, and the vendor's clock.

Everything else is the provider's own, so that what is checked is what will serve.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from hamlet.registry.plugins import Plugins
from hamlet.spi import Log, Provider, ProviderSettings, Reply, Runtime, Transport


@dataclass(slots=True)
class TransportRecord:
    """The settings of a provider's transports, and the clock skews of its responses.

    A skew is the vendor's clock minus ours, in seconds; the `date` header resolves one second.
    """

    settings: list[ProviderSettings] = field(default_factory=list)
    skews: list[float] = field(default_factory=list)


class RecordingPlugins(Plugins):
    """The installed plugins, each with recording transports."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[int, TransportRecord] = {}

    def record_of(self, instance: object) -> TransportRecord:
        """The record of a provider instance whose plugin was loaded here."""
        return self._records[id(instance)]

    def load(self, kind: str) -> type[Provider]:
        plugin, records = super().load(kind), self._records

        def __init__(self: Any, settings: Any, runtime: Runtime) -> None:
            record = records[id(self)] = TransportRecord()
            plugin.__init__(self, settings, _RecordingRuntime(runtime, record))

        return type(plugin.__name__, (plugin,), {"__init__": __init__})


class _RecordingRuntime:
    def __init__(self, runtime: Runtime, record: TransportRecord) -> None:
        self._runtime = runtime
        self._record = record

    @property
    def log(self) -> Log:
        return self._runtime.log

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        self._record.settings.append(settings)
        return _RecordingTransport(self._runtime.http(settings, headers), self._record)

    def now(self) -> float:
        return self._runtime.now()


class _RecordingTransport:
    def __init__(self, transport: Transport, record: TransportRecord) -> None:
        self._transport = transport
        self._record = record

    @asynccontextmanager
    async def stream(self, method: str, path: str, **more: Any) -> AsyncIterator[Reply]:
        async with self._transport.stream(method, path, **more) as reply:
            if (skew := _parse_skew(reply.headers.get("date"))) is not None:
                self._record.skews.append(skew)
            yield reply

    async def aclose(self) -> None:
        await self._transport.aclose()


def _parse_skew(date: str | None) -> float | None:
    try:
        # The header is truncated to the second: half a second is missing on average.
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
