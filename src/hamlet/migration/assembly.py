"""The move from hamlet1 put together: the half of the composition root that has two arms."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from hamlet.api.dispatcher import HotRoutes
from hamlet.api.endpoints.embeddings import refuse
from hamlet.api.http import Response
from hamlet.config import Loaded
from hamlet.core.errors import HamletError
from hamlet.gateway import Admission
from hamlet.migration import Board, Features, Shadow, View, Watch, open_store, settings
from hamlet.migration.legacy import Legacy
from hamlet.migration.metrics import CutoverMetrics
from hamlet.migration.proxy import Crossing, NewArm, cutover_status
from hamlet.migration.proxy.legacy_proxy import Passage
from hamlet.migration.proxy.tester_override import Tester
from hamlet.net.server.asgi import ASGI
from hamlet.spi import Log
from hamlet.telemetry.exposition import Exposition


class MigrationParts:
    """State, watch and crossing of one process. Opens no connection by itself."""

    def __init__(
        self, loaded: Loaded, exposition: Exposition, admission: Admission, log: Log
    ) -> None:
        """Raises ConfigError if what is said of the move does not fit the rest."""
        self.config = config = settings(loaded)
        self._loaded, self._log = loaded, log
        metrics = CutoverMetrics(exposition, list(config.features))
        self.features = Features(config, metrics, log)
        self.view = View(Board(open_store(config), config), log)
        self.view.on_change = lambda before, after: self.features.stand(after)
        self.watch = Watch(self.view, self.features, config, log)
        self.legacy = Legacy(config)
        self.passage = Passage(self.legacy)
        self.shadow = Shadow(
            config.shadow, lambda: admission.in_flight / admission.max_in_flight, log
        )
        self._task: asyncio.Task[None] | None = None
        self.features.stand(self.view.document)

    def crossing(self, app: ASGI, serve: HotRoutes, wrapped: ASGI, dark: ASGI) -> Crossing:
        """The crossing in front of `app`; `serve` is the new arm, `wrapped` it with CORS."""

        def refusal(method: str, path: str, error: HamletError, request_id: str) -> Response:
            route = serve.route(method, path)
            return (route.refuse if route else refuse)(error, request_id)

        new = NewArm(wrapped, dark, refusal, lambda m, p: serve.route(m, p) is not None)
        config = self.config
        key = config.tester_key.get_secret_value() if config.tester_key else None
        return Crossing(
            app,
            new,
            self.passage,
            self.view,
            self.features,
            self.shadow,
            Tester(key),
            max_body_bytes=self._loaded.config.server.max_body_bytes,
            log=self._log,
        )

    def status(self) -> APIRouter:
        """What operators may ask of this process."""
        return cutover_status(self.view, self.features, self.watch)

    async def start(self) -> None:
        """Read where features stand, then keep watch."""
        await self.view.refresh()
        self._task = asyncio.get_running_loop().create_task(self.watch.run())

    async def aclose(self) -> None:
        """Stop everything."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.shadow.aclose()
        await self.legacy.aclose()
