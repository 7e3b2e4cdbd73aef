"""The move from hamlet1 put together: the half of the composition root that has two arms."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from hamlet.api.dispatcher import Dispatcher
from hamlet.api.endpoints.embeddings import render_openai_error
from hamlet.api.http import Response
from hamlet.config import LoadedConfig
from hamlet.core.errors import HamletError
from hamlet.gateway import Admission
from hamlet.migration import (
    FeatureSet,
    GuardrailMonitor,
    LocalRolloutState,
    RolloutController,
    ShadowRunner,
    open_store,
    resolve_config,
)
from hamlet.migration.legacy_client import LegacyClient
from hamlet.migration.metrics import CutoverMetrics
from hamlet.migration.proxy import MigrationProxy, NewArm, cutover_status_router
from hamlet.migration.proxy.legacy_proxy import LegacyProxy
from hamlet.migration.proxy.tester_override import TesterOverride
from hamlet.net.server.asgi import ASGI
from hamlet.spi import Log
from hamlet.telemetry.exposition import Exposition


class Migration:
    """State, watch and crossing of one process. Opens no connection by itself."""

    def __init__(
        self, loaded: LoadedConfig, exposition: Exposition, admission: Admission, log: Log
    ) -> None:
        """Raises ConfigError if what is said of the move does not fit the rest."""
        self.config = config = resolve_config(loaded)
        self._loaded, self._log = loaded, log
        metrics = CutoverMetrics(exposition, list(config.features))
        self.features = FeatureSet(config, metrics, log)
        self.local_state = LocalRolloutState(RolloutController(open_store(config), config), log)
        self.local_state.on_change = lambda before, after: self.features.apply_document(after)
        self.guardrail_monitor = GuardrailMonitor(self.local_state, self.features, config, log)
        self.legacy_client = LegacyClient(config)
        self.legacy_proxy = LegacyProxy(self.legacy_client)
        self.shadow_runner = ShadowRunner(
            config.shadow, lambda: admission.in_flight / admission.max_in_flight, log
        )
        self._monitor_task: asyncio.Task[None] | None = None
        self.features.apply_document(self.local_state.document)

    def build_proxy(
        self, app: ASGI, dispatcher: Dispatcher, serve_new: ASGI, serve_shadow: ASGI
    ) -> MigrationProxy:
        """The crossing in front of `app`; `serve` is the new arm, `wrapped` it with CORS."""

        def render_error(method: str, path: str, error: HamletError, request_id: str) -> Response:
            route = dispatcher.find_endpoint(method, path)
            return (route.render_error if route else render_openai_error)(error, request_id)

        new = NewArm(
            serve_new,
            serve_shadow,
            render_error,
            lambda m, p: dispatcher.find_endpoint(m, p) is not None,
        )
        config = self.config
        key = config.tester_key.get_secret_value() if config.tester_key else None
        return MigrationProxy(
            app,
            new,
            self.legacy_proxy,
            self.local_state,
            self.features,
            self.shadow_runner,
            TesterOverride(key),
            max_body_bytes=self._loaded.config.server.max_body_bytes,
            log=self._log,
        )

    def status_router(self) -> APIRouter:
        """What operators may ask of this process."""
        return cutover_status_router(self.local_state, self.features, self.guardrail_monitor)

    async def start(self) -> None:
        """Read where features stand, then keep watch."""
        await self.local_state.refresh()
        self._monitor_task = asyncio.get_running_loop().create_task(self.guardrail_monitor.run())

    async def aclose(self) -> None:
        """Stop everything."""
        if self._monitor_task is not None:
            self._monitor_task.cancel()
            await asyncio.gather(self._monitor_task, return_exceptions=True)
        await self.shadow_runner.aclose()
        await self.legacy_client.aclose()
