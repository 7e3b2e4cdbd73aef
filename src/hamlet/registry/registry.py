"""An immutable snapshot of everything a call can be routed to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from hamlet.config import GatewayConfig
from hamlet.core.errors import RouteNotFound
from hamlet.net.client.pool import PoolStats
from hamlet.registry.model import ProviderHandle, Route
from hamlet.runtime import HostRuntime
from hamlet.spi import SupportsClose
from hamlet.spi.sources import SupportsSearch


class Registry:
    """Providers, routes and web sources of one configuration."""

    def __init__(
        self,
        config: GatewayConfig,
        providers: Mapping[str, ProviderHandle],
        routes: Mapping[str, Route],
        runtimes: Sequence[HostRuntime] = (),
        sources: Mapping[str, SupportsSearch] | None = None,
    ) -> None:
        self.config = config
        self.sources = sources or {}
        self.providers = providers
        self.routes = routes
        self._runtimes = runtimes

    def route(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFound."""
        try:
            return self.routes[name]
        except KeyError:
            raise RouteNotFound(f"the model {name!r} does not exist", param="model") from None

    def pool_stats(self) -> Mapping[str, PoolStats]:
        """The connections to each provider that uses hamlet's own transport."""
        stats = ((runtime.name, runtime.pool_stats()) for runtime in self._runtimes)
        return {name: pool_stats for name, pool_stats in stats if pool_stats is not None}

    async def warm(self) -> None:
        """Open the connections that providers want open before their first call."""
        await asyncio.gather(*(runtime.warm() for runtime in self._runtimes))

    async def aclose(self) -> None:
        """Close every provider and its transports."""
        for handle in self.providers.values():
            if isinstance(handle.instance, SupportsClose):
                await handle.instance.aclose()
        for runtime in self._runtimes:
            await runtime.aclose()
        for source in self.sources.values():
            if isinstance(source, SupportsClose):
                await source.aclose()
