"""The composition root: the only place that sees everything."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from hamlet.api.auth import DarkKeyring, Keyring
from hamlet.api.dispatcher import HotRoute, HotRoutes
from hamlet.api.endpoints import health as shell
from hamlet.api.endpoints.admin import Desk, admin
from hamlet.api.openapi import document
from hamlet.api.routes import model_routes
from hamlet.api.streaming import Pacing
from hamlet.config import ConfigError, FleetConfig, Loaded, Problem, ServerConfig, load
from hamlet.gateway import Admission, Distress, Gateway, Observer, Observers, Prober
from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.registry import Deployment, Plugins, RegistryHolder, build
from hamlet.routing import Fleet, Sharing
from hamlet.spi import Log
from hamlet.suggest.api import EventsEndpoint, events_route, main_screen_routes
from hamlet.suggest.api.admin import SuggestAdminContext, suggest_admin
from hamlet.suggest.assembly import MainScreenParts
from hamlet.suggest.metrics import ScreenMetrics
from hamlet.suggest.page import PageParts, page
from hamlet.telemetry import AccessLog, FleetState, Metrics, make_log
from hamlet.telemetry.breakers import BreakerLog
from hamlet.telemetry.exposition import Row
from hamlet.telemetry.state import pool_rows
from hamlet.telemetry.usage import UsageLog
from hamlet.telemetry.writer import Writer

if TYPE_CHECKING:
    from hamlet.migration.assembly import MigrationParts
    from hamlet.migration.proxy import Crossing
    from hamlet.telemetry.spans import Spans

_NEVER_S = 1e6
_STALLED_S = 0.25


class Hamlet:
    """The assembled application; an ASGI callable."""

    def __init__(
        self, loaded: Loaded, *, log: Log | None = None, plugins: Plugins | None = None
    ) -> None:
        """Build everything. Raises ConfigError; opens no connection."""
        config = loaded.config
        self._writer: Writer | None = None
        if log is None:
            self._writer = Writer(sys.stderr)
            told = config.telemetry
            log = make_log(told.log_level, told.log_format, cast(TextIO, self._writer))
        self.log = log
        self._loaded = loaded
        self._plugins = plugins or Plugins()
        self._reloading = asyncio.Lock()
        self._fronts: list[HotRoutes] = []
        self._crossing: Crossing | None = None
        self.draining = False
        self.metrics = Metrics()
        self.registries = RegistryHolder(build(loaded, self.log, self._plugins))
        self.keyring = Keyring(config.keys)
        self.distress = Distress(heard=self._lagged)
        usage = config.telemetry.usage_file
        self._usage = [UsageLog(usage)] if usage is not None else []
        fleet = Fleet()
        BreakerLog(fleet, self.log)
        self.access = AccessLog(self.log)
        self._spans = _spans(loaded, fleet)
        watchers: list[Observer] = [self.metrics, self.access, *self._usage, *self._spans]
        self.observers = Observers(watchers, self.log)
        self.gateway = Gateway(
            self.registries,
            Admission(config.server.max_in_flight, distress=lambda: self.distress.level),
            self.observers,
            fleet,
        )
        self._count()
        self.sharing = self._sharing(config.fleet)
        self.prober = Prober(self.registries, self.gateway, self._processes)
        self.migration = self._migration(loaded)
        routes = self._hot_routes()
        self.shell = self._shell(routes)
        self._asgi = self._in_front(self.shell, routes, config.server)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._asgi(scope, receive, send)

    async def reload(self) -> None:
        """Read the file and the packs again and switch over.

        Raises ConfigError, and then nothing changes. What `server`, `telemetry`, `fleet.redis`
        and `fleet.group` and all of `suggest` but its sources and packs say is read at start only.
        """
        async with self._reloading:
            try:
                loaded = await asyncio.to_thread(load, self._loaded.path)
                registry = build(loaded, self.log, self._plugins)
                await self.screen.reload(loaded)
            except Exception as error:
                self.metrics.reloaded("refused")
                self.log.error("config.refused", problems=str(error))
                raise
            drain_s = loaded.config.server.drain_s
            self._loaded, self.keyring = loaded, Keyring(loaded.config.keys)
            self.registries.swap(registry, drain_s)
            self.metrics.prepare(registry.routes)
            await self.prober.refresh()
            self.metrics.reloaded("ok")
            self.log.info("config.reloaded", source=loaded.source.name)

    def _migration(self, loaded: Loaded) -> MigrationParts | None:
        if loaded.config.cutover is None:
            return None
        # Proxying hamlet1 brings another HTTP client: only who moves pays for that.
        from hamlet.migration.assembly import MigrationParts

        return MigrationParts(loaded, self.metrics.exposition, self.gateway.admission, self.log)

    def _sharing(self, config: FleetConfig) -> Sharing | None:
        if config.redis is None:
            return None

        def deployments() -> Iterator[Deployment]:
            for route in self.registries.current.routes.values():
                for tier in route.tiers:
                    yield from tier

        url, fleet = config.redis.get_secret_value(), self.gateway.fleet
        return Sharing(fleet, url, config.group, deployments, self.log, self.metrics.sharing)

    def _count(self) -> None:
        """Let metrics see what they read at a scrape."""
        fleet = FleetState(self.gateway.fleet, lambda: self.registries.current.routes)
        self.metrics.avoidable = fleet.avoidable
        self.metrics.prepare(self.registries.current.routes)
        self.metrics.exposition.reads(fleet.rows)
        self.metrics.exposition.reads(self._rows)

    def _rows(self) -> list[Row]:
        admission = self.gateway.admission
        return [
            ("hamlet_ready", (), self._ready()),
            ("hamlet_draining", (), self.draining),
            ("hamlet_build_info", (version("hamlet"),), 1),
            ("hamlet_calls_limit", (), admission.max_in_flight),
            ("hamlet_queue_depth", (), admission.waiting),
            ("hamlet_tasks", (), len(asyncio.all_tasks())),
            ("hamlet_distress_level", (), self.distress.level),
            ("hamlet_log_dropped_total", (), self._writer.dropped if self._writer else 0),
            ("hamlet_telemetry_errors_total", (), self.observers.failures),
            ("hamlet_usage_dropped_total", (), sum(each.dropped for each in self._usage)),
            ("hamlet_spans_dropped_total", (), sum(each.dropped for each in self._spans)),
            *pool_rows(self.registries.current.levels()),
            *self._of_the_web(),
        ]

    def _of_the_web(self) -> Iterator[Row]:
        for name, told in self.screen.web.status().items():
            yield "hamlet_web_source_open", (name,), told["state"] == "open"
            yield "hamlet_web_searches_total", (name, "ok"), told["answered"]
            yield "hamlet_web_searches_total", (name, "failed"), told["failed"]

    def _ready(self) -> bool:
        return not self.draining

    async def _exposed(self, accept: str) -> tuple[bytes, str]:
        return await self.metrics.exposition.render(accept)

    def admin_app(self) -> FastAPI:
        """Health and metrics, for a port of their own."""
        app = FastAPI(title="hamlet admin", docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(shell.health(self._ready, self._exposed))
        return app

    def _lagged(self, seconds: float) -> None:
        self.metrics.lagged(seconds)
        if seconds > _STALLED_S:
            self.log.warning("loop.stalled", lag_ms=round(seconds * 1000, 1))

    def _processes(self) -> int:
        return self.sharing.processes if self.sharing else 1

    def drain(self) -> None:
        """Say on /readyz that no more traffic is wanted. What comes is still served."""
        self.draining = True

    def end_streams(self) -> int:
        """End what still runs, streams with an error in-band; returns how many there were."""
        self.gateway.admission.draining = True
        passing = self._crossing.end_all() if self._crossing else 0
        return passing + sum(front.end_all() for front in self._fronts)

    def _hot_routes(self) -> list[HotRoute]:
        self.screen = MainScreenParts(
            self._loaded,
            self.gateway,
            self.registries,
            self.log,
            ScreenMetrics(self.metrics.exposition),
        )
        admission = self.gateway.admission
        signer, events = self.screen.signer, self.screen.events
        taking = EventsEndpoint(events, signer, admission, lambda: self.keyring)
        return [*self._use_cases(lambda: self.keyring), events_route(taking)]

    def _use_cases(self, keyring: Callable[[], Keyring]) -> list[HotRoute]:
        """The routes that answer questions, for the callers of a keyring."""
        service, gateway = self.screen.service, self.gateway
        routes = model_routes(gateway, keyring, lambda: list(self.registries.current.routes))
        routes += main_screen_routes(service, gateway.admission, keyring)
        moving = self.migration.config if self.migration else None
        if moving is not None and moving.chat_route is not None:
            from hamlet.migration.hamlet1 import hamlet1_routes

            routes += hamlet1_routes(gateway, service, keyring, moving.chat_route)
        return routes

    def _shell(self, routes: list[HotRoute]) -> FastAPI:
        # FastAPI's own pages load their scripts from a CDN: the document alone is served.
        app = FastAPI(
            title="hamlet",
            version=version("hamlet"),
            lifespan=self._lifespan,
            docs_url=None,
            redoc_url=None,
        )
        apart = self._loaded.config.telemetry.admin_port is not None
        app.include_router(shell.health(self._ready, None if apart else self._exposed))
        parts = self.screen
        desk = Desk(
            lambda: self.keyring,
            self.reload,
            self.gateway.fleet,
            lambda: self.registries.current.routes,
        )
        acted_upon = SuggestAdminContext(parts.events, parts.editor, parts.service, parts.web)
        more = [suggest_admin(acted_upon)]
        if self.migration is not None:
            more.append(self.migration.status())
        app.include_router(admin(desk, *more))
        page(app, PageParts(parts.service, lambda: self.keyring, parts))
        shell.dialect_errors(app, routes)
        document(app, routes)
        return app

    def _in_front(self, app: ASGI, routes: list[HotRoute], server: ServerConfig) -> ASGI:
        front = self._front(app, routes, server, server.header_wait_s)
        outer = _with_cors(front, server)
        if self.migration is None:
            return outer
        # A status that goes out before there is content would leave nothing to rescue.
        new = self._front(app, routes, server, _NEVER_S)
        hidden = self._use_cases(lambda: DarkKeyring(self.keyring))
        dark = self._front(app, hidden, server, _NEVER_S)
        self._crossing = self.migration.crossing(outer, new, _with_cors(new, server), dark)
        return self._crossing

    def _front(
        self, app: ASGI, routes: list[HotRoute], server: ServerConfig, header_wait_s: float
    ) -> HotRoutes:
        pacing = Pacing(header_wait_s, server.keepalive_s)
        front = HotRoutes(
            app,
            routes,
            max_body_bytes=server.max_body_bytes,
            pacing=pacing,
            log=self.log,
            body_s=server.request_body_s,
            heard=self.metrics.answered_http,
        )
        self._fronts.append(front)
        return front

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with _on_hangup(loop, self._reload_soon):
            self.screen.start()
            self.distress.start()
            await self.registries.current.warm()
            if self.sharing is not None:
                self.sharing.start()
            await self.prober.start()
            if self.migration is not None:
                await self.migration.start()
            try:
                yield
            finally:
                if self.migration is not None:
                    await self.migration.aclose()
                await self.prober.aclose()
                if self.sharing is not None:
                    await self.sharing.aclose()
                await self.distress.aclose()
                await self.screen.aclose()
                await self.registries.aclose()
                for usage in self._usage:
                    await asyncio.to_thread(usage.close)
                for spans in self._spans:
                    await asyncio.to_thread(spans.close)

    def _reload_soon(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except Exception as error:
            # reload() has logged it; serving goes on with the old configuration.
            self.log.debug("config.kept", error=type(error).__name__)


def create_app(path: Path | None = None) -> Hamlet:
    """The application for a config file; the built-in default if there is none."""
    return Hamlet(load(path))


def _with_cors(front: HotRoutes, server: ServerConfig) -> ASGI:
    if not server.cors_origins:
        return front
    return CORSMiddleware(
        front,
        allow_origins=server.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=(
            "authorization",
            "content-type",
            "traceparent",
            "x-api-key",
            "x-request-budget-ms",
            "x-request-id",
        ),
        expose_headers=("x-request-id", "retry-after", "server-timing", "etag"),
    )


def _spans(loaded: Loaded, fleet: Fleet) -> list[Spans]:
    """What sends traces, if the configuration wants any. Raises ConfigError without the extra."""
    telemetry = loaded.config.telemetry
    if telemetry.otlp is None:
        return []
    try:
        from hamlet.telemetry.spans import Spans
    except ImportError:
        path = ("telemetry", "otlp")
        text = "traces need the extra: pip install 'hamlet[otel]'"
        problem = Problem(".".join(path), loaded.source.line(path), text)
        raise ConfigError(loaded.source.name, [problem]) from None
    return [Spans(fleet, telemetry.sample, telemetry.otlp)]


@contextmanager
def _on_hangup(loop: asyncio.AbstractEventLoop, react: Callable[[], None]) -> Iterator[None]:
    """React to SIGHUP, where there is such a signal and this thread may have it."""
    try:
        loop.add_signal_handler(signal.SIGHUP, react)
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
