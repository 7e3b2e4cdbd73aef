"""Listens in on what providers do with their transports: where they call, what the vendor's clock
says. Everything else is the provider's own, so that what is examined is what will serve."""

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
class Heard:
    """What one provider did: the settings of its transports, and the skews told by answers.

    A skew is the vendor's clock less ours, in seconds; vendors tell it to the second.
    """

    settings: list[ProviderSettings] = field(default_factory=list)
    skews: list[float] = field(default_factory=list)


class HearingPlugins(Plugins):
    """The installed plugins, each with its transports listened to."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: dict[int, Heard] = {}

    def of(self, instance: object) -> Heard:
        """What was heard of a provider that was made from a plugin loaded here."""
        return self._heard[id(instance)]

    def load(self, kind: str) -> type[Provider]:
        plugin, all_heard = super().load(kind), self._heard

        def __init__(self: Any, settings: Any, runtime: Runtime) -> None:
            heard = all_heard[id(self)] = Heard()
            plugin.__init__(self, settings, _HearingRuntime(runtime, heard))

        return type(plugin.__name__, (plugin,), {"__init__": __init__})


class _HearingRuntime:
    def __init__(self, runtime: Runtime, heard: Heard) -> None:
        self._runtime = runtime
        self._heard = heard

    @property
    def log(self) -> Log:
        return self._runtime.log

    def http(self, settings: ProviderSettings, headers: Mapping[str, str] = {}) -> Transport:
        self._heard.settings.append(settings)
        return _HearingTransport(self._runtime.http(settings, headers), self._heard)

    def now(self) -> float:
        return self._runtime.now()


class _HearingTransport:
    def __init__(self, transport: Transport, heard: Heard) -> None:
        self._transport = transport
        self._heard = heard

    @asynccontextmanager
    async def stream(self, method: str, path: str, **more: Any) -> AsyncIterator[Reply]:
        async with self._transport.stream(method, path, **more) as reply:
            if (skew := _skew(reply.headers.get("date"))) is not None:
                self._heard.skews.append(skew)
            yield reply

    async def aclose(self) -> None:
        await self._transport.aclose()


def _skew(date: str | None) -> float | None:
    try:
        # The header is cut to the second: on average half of one is missing.
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
