"""The migration's composition root: builds everything that a `cutover` section calls for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter

from hamlet.api.auth import Keyring
from hamlet.api.dispatcher import Dispatcher, HttpEndpoint
from hamlet.api.endpoints.embeddings import render_openai_error
from hamlet.api.http import Response
from hamlet.config import LoadedConfig
from hamlet.core.errors import HamletError
from hamlet.gateway import Admission, Gateway
from hamlet.migration.config_check import resolve_config
from hamlet.migration.feature import FeatureSet
from hamlet.migration.guardrail_monitor import GuardrailMonitor
from hamlet.migration.hamlet1 import hamlet1_endpoints
from hamlet.migration.legacy_client import LegacyClient
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.metrics import CutoverMetrics
from hamlet.migration.proxy import MigrationProxy, NewArm, cutover_status_router
from hamlet.migration.proxy.legacy_proxy import LegacyProxy
from hamlet.migration.proxy.tester_override import TesterOverride
from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.shadow import ShadowRunner
from hamlet.migration.store_factory import open_store
from hamlet.net.server.asgi import ASGI
from hamlet.spi import Log
from hamlet.suggest import SuggestService
from hamlet.telemetry.exposition import Exposition


class Migration:
    """Rollout state, guardrails and proxy of one process. Opens no connection until `start`."""

    def __init__(
        self, loaded: LoadedConfig, exposition: Exposition, admission: Admission, log: Log
    ) -> None:
        """Raises ConfigError if the `cutover` section does not fit the rest of the file."""
        self.config = config = resolve_config(loaded)
        self._loaded, self._log = loaded, log
        metrics = CutoverMetrics(exposition, list(config.features))
        self.features = FeatureSet(config, metrics, log)
        controller = RolloutController(open_store(config), config)
        self.local_state = LocalRolloutState(
            controller, log, on_change=self.features.apply_document
        )
        self.guardrail_monitor = GuardrailMonitor(self.local_state, self.features, config, log)
        self.legacy_client = LegacyClient(config)
        self.legacy_proxy = LegacyProxy(self.legacy_client)
        self.shadow_runner = ShadowRunner(
            config.shadow, lambda: admission.in_flight / admission.max_in_flight, log
        )
        self._monitor_task: asyncio.Task[None] | None = None
        self.features.apply_document(self.local_state.document)

    def hamlet1_endpoints(
        self, gateway: Gateway, service: SuggestService, keyring: Callable[[], Keyring]
    ) -> list[HttpEndpoint]:
        """hamlet1's API on hamlet's own engine; none without `chat_route`."""
        route = self.config.chat_route
        return [] if route is None else hamlet1_endpoints(gateway, service, keyring, route)

    def build_proxy(
        self, app: ASGI, dispatcher: Dispatcher, serve_new: ASGI, serve_shadow: ASGI
    ) -> MigrationProxy:
        """The proxy in front of `app`, which serves everything that does not migrate.

        `serve_new` serves users on the new arm, `serve_shadow` the shadow calls; `dispatcher`
        knows the endpoints and the shape of their errors.
        """

        def render_error(method: str, path: str, error: HamletError, request_id: str) -> Response:
            endpoint = dispatcher.find_endpoint(method, path)
            render = endpoint.render_error if endpoint else render_openai_error
            return render(error, request_id)

        new_arm = NewArm(
            serve_new,
            serve_shadow,
            render_error,
            lambda method, path: dispatcher.find_endpoint(method, path) is not None,
        )
        config = self.config
        key = config.tester_key.get_secret_value() if config.tester_key else None
        return MigrationProxy(
            app,
            new_arm,
            self.legacy_proxy,
            self.local_state,
            self.features,
            self.shadow_runner,
            TesterOverride(key),
            max_body_bytes=self._loaded.config.server.max_body_bytes,
            log=self._log,
        )

    def status_router(self) -> APIRouter:
        """The admin API's `/cutover` endpoint."""
        return cutover_status_router(self.local_state, self.features, self.guardrail_monitor)

    async def start(self) -> None:
        """Read the rollout document, then start the guardrail monitor."""
        await self.local_state.refresh()
        self._monitor_task = asyncio.get_running_loop().create_task(self.guardrail_monitor.run())

    async def aclose(self) -> None:
        """Stop the monitor and the shadow calls, and close the connections to hamlet1."""
        if self._monitor_task is not None:
            self._monitor_task.cancel()
            await asyncio.gather(self._monitor_task, return_exceptions=True)
        await self.shadow_runner.aclose()
        await self.legacy_client.aclose()
